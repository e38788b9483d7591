package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

const sessionID = "3f6c1e0a-7d57-4c7e-9d0b-2f0a6f3f9b11"

// seen is a request as the worker got it.
type seen struct {
	Method, URI, LastEventID, Accept string
	Body                             string
}

// fakeWorker answers the n-th request with the n-th step, and notes what it was asked.
type fakeWorker struct {
	*httptest.Server
	mu       sync.Mutex
	steps    []http.HandlerFunc
	requests []seen
}

// startWorker fails the test for every request beyond the steps.
func startWorker(t *testing.T, steps ...http.HandlerFunc) *fakeWorker {
	t.Helper()
	w := &fakeWorker{steps: steps}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		step := w.note(req)
		if step == nil {
			t.Errorf("unexpected request: %s %s", req.Method, req.URL)
			http.Error(rw, "no more steps", http.StatusTeapot)
			return
		}
		step(rw, req)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *fakeWorker) note(req *http.Request) http.HandlerFunc {
	body, _ := io.ReadAll(req.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, seen{
		Method: req.Method, URI: req.RequestURI, LastEventID: req.Header.Get("Last-Event-ID"),
		Accept: req.Header.Get("Accept"), Body: string(body),
	})
	if len(w.steps) == 0 {
		return nil
	}
	step := w.steps[0]
	w.steps = w.steps[1:]
	return step
}

func (w *fakeWorker) seen() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]seen(nil), w.requests...)
}

// calls lists method and URI of every request.
func (w *fakeWorker) calls() []string {
	var calls []string
	for _, r := range w.seen() {
		calls = append(calls, r.Method+" "+r.URI)
	}
	return calls
}

// line is an event's JSON.
func line(id, kind, more string) string {
	return fmt.Sprintf(`{"type":%q,"id":%q,"timestamp":"2026-03-14T09:26:53.589Z"%s}`, kind, id, more)
}

var (
	connected = line("1-1", "connected", `,"sessionId":"`+sessionID+`","resuming":false,"provider":"script","containerId":"c"`)
	hello     = line("1-2", "assistant_message", `,"data":"hello"`)
	world     = line("1-3", "assistant_message", `,"data":"world"`)
	completed = line("1-4", "completed", `,"sessionId":"`+sessionID+`","duration_ms":413`)
)

// frame is an event as it stands in the stream.
func frame(event string) string {
	id := event[strings.Index(event, `"id":"`)+6:]
	return "id: " + id[:strings.IndexByte(id, '"')] + "\ndata: " + event + "\n\n"
}

func openStream(rw http.ResponseWriter) {
	rw.Header().Set("Content-Type", "text/event-stream")
	rw.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(rw).Flush()
}

// streams sends events and ends the response cleanly.
func streams(events ...string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		openStream(rw)
		for _, e := range events {
			_, _ = io.WriteString(rw, frame(e))
		}
	}
}

// cuts sends raw bytes and breaks the connection.
func cuts(raw string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		openStream(rw)
		_, _ = io.WriteString(rw, raw)
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	}
}

// hangs sends events and then nothing until the client goes; started is closed before the silence begins.
func hangs(started chan<- struct{}, events ...string) http.HandlerFunc {
	return func(rw http.ResponseWriter, req *http.Request) {
		streams(events...)(rw, req)
		_ = http.NewResponseController(rw).Flush()
		close(started)
		<-req.Context().Done()
	}
}

// drops breaks the connection without any answer.
func drops(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func answers(status int, body string, header ...string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, body)
	}
}

// log is what the client told: events, retries and waits.
type log struct {
	events []string
	types  []string
	waits  []time.Duration
	again  []client.Retry
}

func (l *log) onEvent(e client.Event) error {
	l.events = append(l.events, e.ID)
	l.types = append(l.types, e.Type)
	return nil
}

// newClient talks to the worker without really waiting; its goroutines must be gone when the test ends.
func newClient(t *testing.T, url string, l *log, change ...func(*client.Config)) *client.Client {
	t.Helper()
	cfg := client.Config{
		BaseURL:   url,
		OnRetry:   func(r client.Retry) { l.again = append(l.again, r) },
		Transport: &http.Transport{},
		NewID:     func() string { return sessionID },
		Wait: func(ctx context.Context, d time.Duration) error {
			l.waits = append(l.waits, d)
			return context.Cause(ctx)
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkGoroutines(t) })
	t.Cleanup(c.Close)
	return c
}

// checkGoroutines waits until nothing runs in this package or in the stream library any more.
func checkGoroutines(t *testing.T) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		left := foreignStacks()
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("goroutines left:\n%s", left)
			return
		}
	}
}

func foreignStacks() string {
	buf := make([]byte, 1<<20)
	var left []string
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "r3labs/sse") || strings.Contains(stack, "internal/client.(") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}

func mustBe[T error](t *testing.T, err error) T {
	t.Helper()
	var want T
	if !errors.As(err, &want) {
		t.Fatalf("error is %v (%T), want a %T", err, err, want)
	}
	return want
}

// memory is a transport without a network, for tests in fake time: each step writes a stream.
type memory struct {
	mu       sync.Mutex
	steps    []func(req *http.Request, w *io.PipeWriter)
	requests int
}

func (m *memory) RoundTrip(req *http.Request) (*http.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	if len(m.steps) == 0 {
		return nil, errors.New("no more steps")
	}
	step := m.steps[0]
	m.steps = m.steps[1:]
	r, w := io.Pipe()
	context.AfterFunc(req.Context(), func() { w.CloseWithError(req.Context().Err()) })
	go step(req, w)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: r, Request: req,
	}, nil
}

func write(w io.Writer, events ...string) {
	var all bytes.Buffer
	for _, e := range events {
		all.WriteString(frame(e))
	}
	_, _ = w.Write(all.Bytes())
}
