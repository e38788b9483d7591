package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

func TestStartThatFails(t *testing.T) {
	for name, tc := range map[string]struct {
		err         error
		status      int
		code, field string
		retry       bool
	}{
		"unknown session": {fmt.Errorf("start: %w", storage.ErrNotFound), 404, "session_not_found", "", false},
		"held session":    {fmt.Errorf("start: %w", storage.ErrBusy), 409, "session_busy", "", true},
		"storage away":    {fmt.Errorf("start: %w", storage.ErrUnavailable), 503, "storage_error", "", true},
		"another repo":    {&orchestrator.RepoMismatchError{Stored: "a", Requested: "b"}, 400, "invalid_request", "github.repoUrl", false},
		"provider":        {&providers.FieldError{Field: "userRequest", Reason: "no"}, 400, "invalid_request", "userRequest", false},
		"shutting down":   {orchestrator.ErrShutdown, 503, "shutting_down", "", true},
		"aborted":         {orchestrator.ErrAborted, 409, "aborted", "", false},
		"anything else":   {errors.New("open /var/lib/state/x: canary-detail"), 500, "internal_error", "", false},
		"nothing at all":  {nil, 500, "internal_error", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t)
			w := serve(t, config(t, r, newSessions()))
			go func() { r.next().result <- tc.err }()
			a := w.do("POST", "/execute", minimal)
			field, _ := a.body["field"].(string)
			if a.status != tc.status || a.body["error"] != tc.code || field != tc.field {
				t.Errorf("%d %s", a.status, a.raw)
			}
			if got := a.header.Get("Retry-After") != "" && a.body["retryAfter"] != nil; got != tc.retry {
				t.Errorf("retry %t: %s", got, a.raw)
			}
			if strings.Contains(a.raw, "canary") {
				t.Errorf("the answer tells too much: %s", a.raw)
			}
			if a := w.do("GET", "/status", ""); a.status != 200 || a.body["status"] != "idle" {
				t.Errorf("the slot is not free: %s", a.raw)
			}
			go func() { r.next().begin("s", 1) }()
			w.stream("POST", "/execute", minimal).cancel()
		})
	}
}

func TestOneOfManyPostsRuns(t *testing.T) {
	const posts = 150
	r := newRunner(t)
	w := serve(t, config(t, r, newSessions()))
	var refused, accepted atomic.Int32
	var all sync.WaitGroup
	release := make(chan struct{})
	for range posts {
		all.Go(func() {
			<-release
			resp := w.open(context.Background(), "POST", "/execute", minimal)
			defer resp.Body.Close()
			switch resp.StatusCode {
			case http.StatusOK:
				accepted.Add(1)
			case http.StatusTooManyRequests:
				if resp.Header.Get("Retry-After") == "" || resp.Header.Get("X-Container-ID") != "box" {
					t.Errorf("429 with %v", resp.Header)
				}
				refused.Add(1)
			default:
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	close(release)
	run := r.next()
	eventually(t, "all others refused", func() bool { return refused.Load() == posts-1 })
	log := run.begin("s", 1)
	eventually(t, "one accepted", func() bool { return accepted.Load() == 1 })
	run.end(log, nil)
	all.Wait()
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

// refusing is a Runner whose jobs never begin.
type refusing struct{}

func (refusing) Run(context.Context, orchestrator.Job, func(orchestrator.Started)) error {
	return storage.ErrBusy
}

// A slot that becomes free while another request wants it is that one's: there is a job then, or a reason why not.
func TestSlotThatBecomesFree(t *testing.T) {
	server := httpapi.New(config(t, refusing{}, newSessions()))
	var posts sync.WaitGroup
	for range 8 {
		posts.Go(func() {
			for range 5000 {
				if started, err := server.Start(t.Context(), orchestrator.Job{}); !started && err == nil {
					t.Error("neither a job nor an error")
					return
				}
			}
		})
	}
	posts.Wait()
}

// A busy worker answers before the body has come, and even to a body that never comes.
func TestBusyDoesNotReadTheBody(t *testing.T) {
	w, _, _, _ := busy(t, newSessions(), httpapi.Timing{}, 1)
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/execute", iotest.ErrReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	blocked := make(chan struct{})
	defer close(blocked)
	req.Body = blockingBody{blocked}
	req.ContentLength = 1 << 20
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// The answer waits for no body, not even for a small one that net/http would read first, and ends the connection: where connections
// are spread over workers, another one can lead to one that is free.
func TestBusyEndsTheConnectionAtOnce(t *testing.T) {
	w, _, _, _ := busy(t, newSessions(), httpapi.Timing{}, 1)
	conn := w.dial("POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusTooManyRequests || !resp.Close || err != nil {
		t.Errorf("%d, close: %t, %s %v", resp.StatusCode, resp.Close, body, err)
	}
}

type blockingBody struct{ until chan struct{} }

func (b blockingBody) Read([]byte) (int, error) { <-b.until; return 0, errors.New("gone") }
func (b blockingBody) Close() error             { return nil }

func TestStatusOfABusyWorker(t *testing.T) {
	r := newRunner(t)
	w := serve(t, config(t, r, newSessions()))
	posted := make(chan *stream, 1)
	go func() { posted <- w.stream("POST", "/execute", with(`"websiteSessionId":"chosen"`)) }()
	run := r.next()
	a := w.do("GET", "/status", "")
	if a.status != 429 || a.body["status"] != "busy" || a.body["sessionId"] != "chosen" || a.body["startedAt"] == nil || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	log := run.begin("chosen", 1)
	if a := w.do("GET", "/health", ""); a.status != 200 || a.body["workerStatus"] != "busy" || a.body["version"] != "v1" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	run.end(log, nil)
	if ids := (<-posted).rest(); len(ids) != 1 {
		t.Errorf("got %v", ids)
	}
}

// The job belongs to the worker: the client that asked for it may go, even before it has begun.
func TestClientThatLeavesCostsTheJobNothing(t *testing.T) {
	r := newRunner(t)
	w := serve(t, config(t, r, newSessions()))
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		req, _ := http.NewRequestWithContext(ctx, "POST", w.url+"/execute", strings.NewReader(minimal))
		req.Header.Set("Content-Type", "application/json")
		if resp, err := w.http.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	run := r.next()
	leave()
	log := run.begin("s", 1)
	say(t, log, "one")
	s := w.stream("GET", "/sessions/s/stream", "")
	if id, _, err := s.event(); id != "1-1" || err != nil {
		t.Errorf("%s, %v", id, err)
	}
	if err := run.ctx.Err(); err != nil {
		t.Errorf("the job's context: %v", err)
	}
	run.end(log, nil)
	if ids := s.rest(); len(ids) != 1 || ids[0] != "1-2" {
		t.Errorf("got %v", ids)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

type runnerFunc func(ctx context.Context, job orchestrator.Job, ready func(orchestrator.Started)) error

func (f runnerFunc) Run(ctx context.Context, job orchestrator.Job, ready func(orchestrator.Started)) error {
	return f(ctx, job, ready)
}

// A job that panics before it has begun is a 500; the worker goes, because nobody knows what it left behind.
func TestPanicOfAJobThatHasNotBegun(t *testing.T) {
	w := serve(t, config(t, runnerFunc(func(context.Context, orchestrator.Job, func(orchestrator.Started)) error {
		panic("canary-panic")
	}), newSessions()))
	a := w.do("POST", "/execute", minimal)
	if a.status != 500 || a.body["error"] != "internal_error" || strings.Contains(a.raw, "canary") {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if err := w.wait(); err == nil || !strings.Contains(w.logs.String(), "canary-panic") {
		t.Errorf("Serve() = %v; log: %s", err, w.logs)
	}
}

func TestPanicOfAJobThatHasBegun(t *testing.T) {
	r := newRunner(t)
	w := serve(t, config(t, runnerFunc(func(ctx context.Context, job orchestrator.Job, ready func(orchestrator.Started)) error {
		_ = r.Run(ctx, job, ready)
		panic("canary-panic")
	}), newSessions()))
	posted := make(chan *stream, 1)
	go func() { posted <- w.stream("POST", "/execute", minimal) }()
	run := r.next()
	say(t, run.begin("s", 1), "one")
	s := <-posted
	run.result <- nil
	if ids := s.rest(); len(ids) != 1 {
		t.Errorf("got %v", ids)
	}
	if err := w.wait(); err == nil {
		t.Error("Serve() = nil")
	}
	if logs := w.logs.String(); !strings.Contains(logs, `"session":"s","panic":"canary-panic"`) {
		t.Errorf("whose job panicked is not in the log: %s", logs)
	}
}

var _ httpapi.Runner = runnerFunc(nil)
