package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// failing is a session store that breaks after it has emitted what it has, or at once for readers that want nothing of it.
type failing struct{ *sessions }

var errBroken = errors.New("the store broke")

func (f failing) Events(ctx context.Context, id string, after event.ID, emit func([]byte) error) error {
	return errors.Join(f.sessions.Events(ctx, id, after, emit), errBroken)
}

func (f failing) Follow(ctx context.Context, id string, after event.ID, emit func([]byte) error) error {
	if after.N == 7 {
		panic("the store panicked")
	}
	return f.Events(ctx, id, after, emit)
}

func TestIdleWorkerStopsAtOnce(t *testing.T) {
	stored := newSessions()
	stored.add("other", note(1, 1))
	cfg := config(t, newRunner(t), stored)
	cfg.StopGrace, cfg.Timing.Linger = time.Hour, time.Hour
	w := serve(t, cfg)
	conn, err := net.Dial("tcp", w.addr) // a proxy's connection in store
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := w.stream("GET", "/sessions/other/stream", "") // a job elsewhere, that goes on
	if id, _, err := s.event(); id != "1-1" || err != nil {
		t.Fatalf("%s, %v", id, err)
	}
	begun := time.Now()
	w.stop()
	if err := w.wait(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("stopped after %s", took)
	}
	if got := s.rest(); got != nil {
		t.Errorf("got %v", got)
	}
}

// A request that is on its way when an idle worker stops is answered: a connection that is closed would leave its client not
// knowing whether the job runs.
func TestRequestOnItsWayWhenTheWorkerStops(t *testing.T) {
	cfg := config(t, newRunner(t), newSessions())
	cfg.Timing.Fresh, cfg.Timing.Linger = patience, patience
	w := serve(t, cfg)
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.do("GET", "/health", "") // the connection before it has been accepted, too
	w.http.CloseIdleConnections()
	w.stop()
	eventually(t, "no new connections", func() bool {
		late, err := net.Dial("tcp", w.addr)
		if err == nil {
			_ = late.Close()
		}
		return err != nil
	})
	if _, err := fmt.Fprintf(conn, "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(minimal), minimal); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("answered %s", resp.Status)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

func TestListenerThatFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	err = httpapi.New(config(t, newRunner(t), newSessions())).Serve(t.Context(), ln)
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve() = %v", err)
	}
}

func TestWorkerEndsWithItsJob(t *testing.T) {
	for name, jobErr := range map[string]error{"handled": nil, "the worker's fault": errors.New("replaced")} {
		w, run, log, s := busy(t, newSessions(), httpapi.Timing{}, 1)
		run.end(log, jobErr)
		if diff := cmp.Diff(ids(1, 1, 1), s.rest()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if err := w.wait(); !errors.Is(err, jobErr) {
			t.Errorf("%s: Serve() = %v", name, err)
		}
		if _, err := net.Dial("tcp", w.addr); err == nil {
			t.Errorf("%s: still listening", name)
		}
	}
}

// A reader that does not take the end keeps the worker for a moment, not for ever.
func TestWorkerDoesNotWaitForADeadReader(t *testing.T) {
	w, run, log, s := busy(t, newSessions(), httpapi.Timing{Linger: 3 * time.Second}, 1)
	good := s.restLater()
	w.dial("GET /sessions/s/stream HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
	for range 200 {
		say(t, log, strings.Repeat("x", 64<<10))
	}
	run.end(log, nil)
	if got := len(<-good); got != 201 {
		t.Errorf("got %d events", got)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
	cut := regexp.MustCompile(`"request":"[0-9a-f-]{36}","session":"s",.*"readers cut"`)
	if logs := w.logs.String(); !cut.MatchString(logs) {
		t.Errorf("whose reader was cut is not in the log: %s", logs)
	}
}

// draining starts a job, stops the worker and waits until it refuses new jobs.
func draining(t *testing.T, grace time.Duration) (*worker, *run, *stream, func()) {
	t.Helper()
	r := newRunner(t)
	cfg := config(t, r, newSessions())
	cfg.StopGrace = grace
	w := serve(t, cfg)
	posted := make(chan *stream, 1)
	go func() { posted <- w.stream("POST", "/execute", minimal) }()
	run := r.next()
	log := run.begin("s", 1)
	s := <-posted
	w.stop()
	eventually(t, "draining", func() bool { return w.do("GET", "/status", "").status == 503 })
	return w, run, s, func() { run.end(log, nil) }
}

func TestDrainingWorkerFinishesItsJob(t *testing.T) {
	w, run, s, end := draining(t, time.Hour)
	a := w.do("POST", "/execute", minimal)
	if a.status != 503 || a.body["error"] != "shutting_down" || a.body["retryAfter"] == nil || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := w.do("GET", "/status", ""); a.body["status"] != "draining" || a.body["sessionId"] != "s" {
		t.Errorf("%s", a.raw)
	}
	if a := w.do("GET", "/ready", ""); a.status != 503 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if err := run.ctx.Err(); err != nil {
		t.Errorf("the job's context: %v", err)
	}
	second := w.stream("GET", "/sessions/s/stream", "")
	end()
	for _, s := range []*stream{s, second} {
		if diff := cmp.Diff(ids(1, 1, 1), s.rest()); diff != "" {
			t.Error(diff)
		}
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

func TestDrainingWorkerStopsItsJobInTime(t *testing.T) {
	w, run, s, end := draining(t, 2*time.Second)
	select {
	case <-run.ctx.Done():
	case <-time.After(patience):
		t.Fatal("the job was not stopped")
	}
	if cause := context.Cause(run.ctx); !errors.Is(cause, orchestrator.ErrShutdown) {
		t.Errorf("cause %v", cause)
	}
	end() // what is left of the grace is for saving
	if diff := cmp.Diff(ids(1, 1, 1), s.rest()); diff != "" {
		t.Error(diff)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

func TestJobThatOutlivesTheGrace(t *testing.T) {
	w, run, s, _ := draining(t, 400*time.Millisecond)
	if err := w.wait(); err == nil {
		t.Error("Serve() = nil: the job was cut")
	}
	if run.ctx.Err() == nil {
		t.Error("the job was not told")
	}
	if _, _, err := s.event(); err == nil {
		t.Error("the reader got an event")
	}
}

// A start that fails while the worker drains is answered, and the worker is done.
func TestDrainingWorkerWhoseJobDoesNotBegin(t *testing.T) {
	r := newRunner(t)
	cfg := config(t, r, newSessions())
	cfg.StopGrace = time.Hour
	w := serve(t, cfg)
	posted := make(chan answer, 1)
	go func() { posted <- w.do("POST", "/execute", minimal) }()
	run := r.next()
	w.stop()
	eventually(t, "draining", func() bool { return w.do("GET", "/status", "").status == 503 })
	run.result <- errors.New("no")
	if a := <-posted; a.status != 500 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}
