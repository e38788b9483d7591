package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

const session = "3f6c1e0a-7d57-4c7e-9d0b-2f0a6f3f9b11"

const (
	connected = `{"type":"connected","id":"1-1","timestamp":"2026-03-14T09:26:53.589Z","sessionId":"` + session + `","resuming":false,"provider":"script","containerId":"c"}`
	output    = `{"type":"assistant_message","id":"1-2","timestamp":"2026-03-14T09:26:53.600Z","data":"renamed <14> files"}`
	completed = `{"type":"completed","id":"1-3","timestamp":"2026-03-14T09:26:54.002Z","sessionId":"` + session + `","duration_ms":413}`
	failed    = `{"type":"error","id":"1-3","timestamp":"2026-03-14T09:26:54.002Z","error":"it broke","code":"provider_error","sessionId":"` + session + `"}`
	aborted   = `{"type":"error","id":"1-3","timestamp":"2026-03-14T09:26:54.002Z","error":"aborted","code":"aborted","sessionId":"` + session + `"}`
)

// fake is a worker whose answers are given by method and path.
type fake struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string]string // the last body of each
}

func startFake(t *testing.T, routes map[string]http.HandlerFunc) *fake {
	t.Helper()
	f := &fake{seen: make(map[string]string)}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		route := r.Method + " " + r.URL.Path
		f.mu.Lock()
		f.seen[route] = string(body)
		f.mu.Unlock()
		if routes[route] == nil {
			t.Errorf("unexpected request: %s", route)
			return
		}
		routes[route](w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) body(route string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[route]
}

// posted decodes the last request for a job.
func (f *fake) posted(t *testing.T) map[string]any {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(f.body("POST /execute")), &body); err != nil {
		t.Fatalf("no job was posted: %v", err)
	}
	return body
}

func stream(events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		for _, e := range events {
			fmt.Fprintf(w, "data: %s\n\n", e)
		}
		_ = http.NewResponseController(w).Flush()
	}
}

// until sends events, waits for the channel and sends the rest.
func until(ch <-chan struct{}, first string, rest ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stream(first)(w, r)
		select {
		case <-ch:
			for _, e := range rest {
				fmt.Fprintf(w, "data: %s\n\n", e)
			}
		case <-r.Context().Done():
		}
	}
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// result is what one run of the program left.
type result struct {
	status         int
	stdout, stderr string
}

// call is one run of the program in a test.
type call struct {
	args    []string
	env     map[string]string
	stdin   string
	signals chan os.Signal // nil: none come
	onWrite func(shown string)
	tune    func(*client.Config) // nil: waits take no time
}

// aicw runs the program.
func aicw(t *testing.T, server string, c call) result {
	t.Helper()
	stdout, stderr := &watched{onWrite: c.onWrite}, &watched{}
	a := &app{
		getenv: func(name string) string {
			if name == "AICW_SERVER" {
				return server
			}
			return c.env[name]
		},
		stdin: strings.NewReader(c.stdin), stdout: stdout, stderr: stderr,
		signals: func() (<-chan os.Signal, func()) { return c.signals, func() {} },
		tune: func(cfg *client.Config) {
			cfg.NewID = func() string { return session }
			cfg.Wait = func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }
			if c.tune != nil {
				c.tune(cfg)
			}
		},
	}
	done := make(chan int, 1)
	go func() { done <- a.run(t.Context(), c.args) }()
	select {
	case status := <-done:
		return result{status, stdout.String(), stderr.String()}
	case <-time.After(30 * time.Second):
		t.Fatalf("aicw %v hangs; it printed\n%s%s", c.args, stdout, stderr)
		return result{}
	}
}

// watched is a buffer that shows what it holds at each write.
type watched struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	onWrite func(string)
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	n, err := w.buf.Write(p)
	text := w.buf.String()
	w.mu.Unlock()
	if w.onWrite != nil {
		w.onWrite(text)
	}
	return n, err
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
