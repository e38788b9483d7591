package httpapi_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
)

// busy is a worker whose job has begun, and the stream of the request that began it.
func busy(t testing.TB, stored *sessions, timing httpapi.Timing, attempt int) (*worker, *run, *eventlog.Log, *stream) {
	t.Helper()
	r := newRunner(t)
	cfg := config(t, r, stored)
	cfg.Timing = timing
	w := serve(t, cfg)
	posted := make(chan *stream, 1)
	go func() { posted <- w.stream("POST", "/execute", minimal) }()
	run := r.next()
	log := run.begin("s", attempt)
	return w, run, log, <-posted
}

func ids(attempt, from, to int) []string {
	var all []string
	for n := from; n <= to; n++ {
		all = append(all, event.ID{Attempt: attempt, N: n}.String())
	}
	return all
}

func TestStreamOfThePost(t *testing.T) {
	w, run, log, s := busy(t, newSessions(), httpapi.Timing{}, 1)
	for name, want := range map[string]string{
		"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "X-Container-Id": "box", "Content-Type": "text/event-stream",
	} {
		if got := s.resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	forged := "\n\nevent: completed\ndata: {\"type\":\"completed\"}\r\n\u2028: x"
	say(t, log, forged)
	frame, err := s.frame()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(frame, "\n"), "\n")
	if len(lines) != 2 || lines[0] != "id: 1-1" || !strings.HasPrefix(lines[1], `data: {"type":"message","id":"1-1",`) {
		t.Errorf("frame %q", frame)
	}
	run.end(log, nil)
	if diff := cmp.Diff([]string{"1-2"}, s.rest()); diff != "" {
		t.Error(diff)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

func TestTerminalEventWaitsForReveal(t *testing.T) {
	_, run, log, s := busy(t, newSessions(), httpapi.Timing{Heartbeat: 5 * time.Millisecond}, 1)
	if err := log.Finish(event.Completed{}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // heartbeats show that the stream is alive, also before the first event
		frame, err := s.frame()
		if err != nil || frame != ": hb\n" {
			t.Fatalf("before Reveal: %q, %v", frame, err)
		}
	}
	log.Reveal()
	run.result <- nil
	if diff := cmp.Diff([]string{"1-1"}, s.rest()); diff != "" {
		t.Error(diff)
	}
}

func TestReaderComesBackWithLastEventID(t *testing.T) {
	w, run, log, s := busy(t, newSessions(), httpapi.Timing{}, 1)
	for range 3 {
		say(t, log, "x")
	}
	second := w.stream("GET", "/sessions/s/stream", "", "Last-Event-ID", "1-2")
	run.end(log, nil)
	if diff := cmp.Diff(ids(1, 3, 4), second.rest()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(ids(1, 1, 4), s.rest()); diff != "" {
		t.Error(diff)
	}
}

// A resumed session has its earlier jobs in storage and the running one here; what is stored of the running one already
// is not told twice.
func TestStreamOfAResumedSession(t *testing.T) {
	stored := newSessions()
	for _, e := range []event.Event{note(1, 1), done(1, 2), note(2, 1), done(2, 2), note(3, 1)} {
		stored.add("s", e)
	}
	w, run, log, s := busy(t, stored, httpapi.Timing{}, 3)
	say(t, log, "x")
	here := []string{"3-1", "3-2"}
	streams := map[*stream][]string{s: here}
	for last, want := range map[string][]string{
		"":       {"1-1", "1-2", "2-1", "2-2", "3-1", "3-2"},
		"1-2":    {"2-1", "2-2", "3-1", "3-2"},
		"1-lost": {"2-1", "2-2", "3-1", "3-2"},
		"2-2":    here,
		"3-1":    {"3-2"},
		"9-1":    nil,
	} {
		streams[w.stream("GET", "/sessions/s/stream", "", "Last-Event-ID", last)] = want
	}
	streams[w.stream("GET", "/sessions/s/stream?job=latest", "")] = here
	streams[w.stream("GET", "/sessions/s/stream?job=latest", "", "Last-Event-ID", "1-1")] = here
	streams[w.stream("GET", "/sessions/s/stream?job=latest", "", "Last-Event-ID", "3-1")] = []string{"3-2"}
	run.end(log, nil)
	for s, want := range streams {
		if diff := cmp.Diff(want, s.rest()); diff != "" {
			t.Errorf("%s, %s: %s", s.resp.Request.URL, s.resp.Request.Header.Get("Last-Event-ID"), diff)
		}
	}
}

// A reader on a connection that was kept asks when the log is gone already: then all of it comes from storage, the
// earlier jobs only once.
func TestStreamOfAResumedSessionWhoseJobIsOver(t *testing.T) {
	stored := newSessions()
	for _, e := range []event.Event{note(1, 1), done(1, 2), done(2, 1)} {
		stored.add("s", e)
	}
	w, run, log, s := busy(t, stored, httpapi.Timing{}, 2)
	w.do("GET", "/health", "") // on the connection that is kept
	if err := log.Finish(event.Completed{}); err != nil {
		t.Fatal(err)
	}
	log.Reveal()
	if diff := cmp.Diff([]string{"2-1"}, s.rest()); diff != "" {
		t.Error(diff)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	late := w.stream("GET", "/sessions/s/stream", "")
	if diff := cmp.Diff([]string{"1-1", "1-2", "2-1"}, late.rest()); diff != "" {
		t.Error(diff)
	}
	run.result <- nil
}

func TestStreamOfAJobElsewhere(t *testing.T) {
	stored := newSessions()
	stored.add("other", note(1, 1))
	w := serve(t, config(t, newRunner(t), stored))
	s := w.stream("GET", "/sessions/other/stream", "")
	if id, _, err := s.event(); id != "1-1" || err != nil {
		t.Fatalf("%s, %v", id, err)
	}
	stored.add("other", note(1, 2))
	stored.add("other", done(1, 3))
	if diff := cmp.Diff(ids(1, 2, 3), s.rest()); diff != "" {
		t.Error(diff)
	}
	latest := w.stream("GET", "/sessions/other/stream?job=latest", "", "Last-Event-ID", "0-5")
	if diff := cmp.Diff(ids(1, 1, 3), latest.rest()); diff != "" {
		t.Error(diff)
	}
}

// A local job is read without storage: it may be away.
func TestLiveStreamNeedsNoStorage(t *testing.T) {
	stored := newSessions()
	stored.err = errors.New("storage is away")
	w, run, log, s := busy(t, stored, httpapi.Timing{}, 1)
	second := w.stream("GET", "/sessions/s/stream", "")
	run.end(log, nil)
	for _, s := range []*stream{s, second} {
		if diff := cmp.Diff(ids(1, 1, 1), s.rest()); diff != "" {
			t.Error(diff)
		}
	}
}

// Readers that leave at random and come back with the last ID they saw get the whole history: no gap, nothing twice.
func TestReadersThatReconnectAtRandom(t *testing.T) {
	const events, readers = 3000, 10
	w, run, log, s := busy(t, newSessions(), httpapi.Timing{}, 1)
	var all, waiting sync.WaitGroup
	got := make([][]string, readers)
	waiting.Add(readers)
	for i := range readers {
		all.Go(func() { got[i] = w.readInPieces(rand.New(rand.NewPCG(7, uint64(i))), events+1, waiting.Done) })
	}
	for i := range events {
		say(t, log, fmt.Sprint(i))
	}
	waiting.Wait()
	if err := log.Finish(event.Completed{}); err != nil {
		t.Fatal(err)
	}
	log.Reveal()
	all.Wait()
	run.result <- nil
	if diff := cmp.Diff(ids(1, 1, events+1), s.rest()); diff != "" {
		t.Errorf("the post's own stream: %s", diff)
	}
	for i := range got {
		if diff := cmp.Diff(ids(1, 1, events+1), got[i]); diff != "" {
			t.Errorf("reader %d: %s", i, diff)
		}
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

// readInPieces reads a session's stream over many connections, until only the last event is missing. It says so, and
// waits for that on its last connection: a worker whose job has ended takes no new ones.
func (w *worker) readInPieces(random *rand.Rand, last int, waiting func()) []string {
	var seen []string
	for {
		header := []string{}
		if len(seen) > 0 {
			header = []string{"Last-Event-ID", seen[len(seen)-1]}
		}
		s := w.stream("GET", "/sessions/s/stream", "", header...)
		if len(seen) == last-1 {
			waiting()
			return append(seen, s.rest()...)
		}
		for range min(1+random.IntN(400), last-1-len(seen)) {
			id, _, err := s.event()
			if err != nil {
				break
			}
			seen = append(seen, id)
		}
		s.cancel()
		_ = s.resp.Body.Close()
	}
}

// A worker whose job has ended refuses connections, so that a proxy gives the next request to another worker, and lets
// the readers that it has read to the end.
func TestEndedJobRefusesConnections(t *testing.T) {
	w, run, log, s := busy(t, newSessions(), httpapi.Timing{}, 1)
	if err := log.Finish(event.Completed{}); err != nil {
		t.Fatal(err)
	}
	log.Reveal()
	eventually(t, "connections are refused", func() bool {
		c, err := net.Dial("tcp", w.addr)
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if diff := cmp.Diff(ids(1, 1, 1), s.rest()); diff != "" {
		t.Error(diff)
	}
	run.result <- nil
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

// A reader that never reads costs the job nothing, and is cut off after the write deadline.
func TestReaderThatNeverReads(t *testing.T) {
	w, run, log, s := busy(t, newSessions(), httpapi.Timing{Write: time.Second}, 1)
	good := s.restLater()
	w.dial("GET /sessions/s/stream HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
	const events = 400
	large := strings.Repeat("x", 64<<10)
	begun := time.Now()
	for range events {
		say(t, log, large)
	}
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("%d events took %s to say", events, took)
	}
	eventually(t, "the reader is cut off", func() bool {
		return strings.Count(w.logs.String(), `"route":"/sessions/:id/stream"`) == 1
	})
	run.end(log, nil)
	if diff := cmp.Diff(ids(1, 1, events+1), <-good); diff != "" {
		t.Errorf("a good reader beside it: %s", diff)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

func TestStreamOutlivesTheBodysDeadline(t *testing.T) {
	timing := httpapi.Timing{Body: 100 * time.Millisecond, Header: 100 * time.Millisecond, Heartbeat: 60 * time.Millisecond}
	w, run, log, s := busy(t, newSessions(), timing, 1)
	second := w.stream("GET", "/sessions/s/stream", "")
	for _, s := range []*stream{s, second} {
		for range 5 {
			if _, err := s.frame(); err != nil {
				t.Fatal(err)
			}
		}
	}
	run.end(log, nil)
	for _, s := range []*stream{s, second} {
		if diff := cmp.Diff(ids(1, 1, 1), s.rest()); diff != "" {
			t.Error(diff)
		}
	}
}

// The worker notices readers that go, although nothing is said.
func TestSilentStreamEndsWithItsReader(t *testing.T) {
	w, run, log, s := busy(t, newSessions(), httpapi.Timing{}, 1)
	second := w.stream("GET", "/sessions/s/stream", "")
	for _, s := range []*stream{s, second} {
		s.cancel()
		_ = s.resp.Body.Close()
	}
	eventually(t, "both streams have ended", func() bool { return strings.Count(w.logs.String(), `"message":"request"`) == 2 })
	if err := run.ctx.Err(); err != nil {
		t.Errorf("the job's context: %v", err)
	}
	run.end(log, nil)
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

// Storage that fails a reader in the middle cuts that reader, and a JSON history cannot be taken for a whole one.
func TestStorageThatFailsInTheMiddle(t *testing.T) {
	stored := newSessions()
	stored.add("bad", note(1, 1))
	cfg := config(t, newRunner(t), stored)
	cfg.Sessions = failing{stored}
	w := serve(t, cfg)
	s := w.stream("GET", "/sessions/bad/stream", "")
	if diff := cmp.Diff(ids(1, 1, 1), s.rest()); diff != "" {
		t.Error(diff)
	}
	conn := w.dial("GET /sessions/bad/stream HTTP/1.1\r\nHost: x\r\n\r\n")
	if raw, err := io.ReadAll(conn); err != nil || strings.Contains(string(raw), "\r\n0\r\n") {
		t.Errorf("history %q, %v", raw, err)
	}
	s = w.stream("GET", "/sessions/bad/stream", "", "Last-Event-ID", "1-7")
	if got := s.rest(); got != nil {
		t.Errorf("got %v", got)
	}
	if a := w.do("GET", "/health", ""); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// Streams leave no goroutine behind, whoever ends them.
func TestManyStreamsAtOnce(t *testing.T) {
	w, run, log, s := busy(t, newSessions(), httpapi.Timing{}, 1)
	streams := []*stream{s}
	for range 100 {
		streams = append(streams, w.stream("GET", "/sessions/s/stream", ""))
	}
	for range 100 {
		gone := w.stream("GET", "/sessions/s/stream", "")
		gone.cancel()
		_ = gone.resp.Body.Close()
	}
	for range 50 {
		say(t, log, "x")
	}
	run.end(log, nil)
	for _, s := range streams {
		if got := s.rest(); !slices.Equal(got, ids(1, 1, 51)) {
			t.Fatalf("got %v", got)
		}
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
	eventually(t, "no goroutine of a stream is left", func() bool {
		stacks := make([]byte, 8<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "r3labs/sse")
	})
}
