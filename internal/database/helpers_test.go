package database_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/database"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const (
	token    = "dbtoken-CANARY-0123456789"
	patience = 20 * time.Second
)

// request is what the database got.
type request struct {
	method, path, status string
	events               []string
}

// fake is a client's database. Before it takes a request it asks the fault, which may answer in its place.
type fake struct {
	*httptest.Server
	mu    sync.Mutex
	fault func(w http.ResponseWriter, n int, body []byte) (answered bool) // n counts requests from 1
	asked int
	took  []request
}

func startFake(t *testing.T, fault func(http.ResponseWriter, int, []byte) bool) *fake {
	t.Helper()
	f := &fake{fault: fault}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	f.mu.Lock()
	f.asked++
	n := f.asked
	f.mu.Unlock()
	if err != nil || r.Header.Get("Authorization") != "Bearer "+token || r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	if f.fault != nil && f.fault(w, n, body) {
		return
	}
	f.take(r, body)
}

func (f *fake) take(r *http.Request, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var said struct {
		Status string
		Events []json.RawMessage
	}
	if err := json.Unmarshal(body, &said); err != nil {
		panic(err)
	}
	req := request{method: r.Method, path: r.URL.EscapedPath(), status: said.Status}
	for _, e := range said.Events {
		req.events = append(req.events, string(e))
	}
	f.took = append(f.took, req)
}

func (f *fake) requests() (asked int, took []request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked, slices.Clone(f.took)
}

// events is everything that was posted, in order.
func (f *fake) events() (all []string) {
	_, took := f.requests()
	for _, r := range took {
		all = append(all, r.events...)
	}
	return all
}

// job is a log that is delivered.
type job struct {
	t           *testing.T
	log         *eventlog.Log
	client      *database.Client
	lines       *bytes.Buffer // that were logged; read them after close
	undelivered func() error
}

// hasty is a client that waits for little.
var hasty = database.Timing{Gather: 5 * time.Millisecond, Pause: time.Millisecond, Longest: 10 * time.Millisecond}

func follow(t *testing.T, url, session string, timing database.Timing) *job {
	t.Helper()
	log, err := eventlog.Create(eventlog.Config{Path: filepath.Join(t.TempDir(), "log"), Attempt: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	client, err := database.New(database.Config{BaseURL: url, Timing: timing})
	if err != nil {
		t.Fatal(err)
	}
	j := &job{t: t, log: log, client: client, lines: &bytes.Buffer{}}
	ctx, cancel := context.WithCancel(zerolog.New(j.lines).WithContext(t.Context()))
	j.undelivered = client.Follow(ctx, session, secret.New(token), log)
	cancel() // that the request is gone is nothing to the delivery
	return j
}

// say appends events; it never waits for a database.
func (j *job) say(first, last int) {
	j.t.Helper()
	for i := first; i <= last; i++ {
		if _, err := j.log.Append(event.Notice{Message: fmt.Sprint(i)}); err != nil {
			j.t.Fatal(err)
		}
	}
}

// end finishes the log and lets the client have its time.
func (j *job) end(b event.Body, patience time.Duration) {
	j.t.Helper()
	if err := j.log.Finish(b); err != nil {
		j.t.Fatal(err)
	}
	j.log.Reveal()
	j.close(patience)
}

func (j *job) close(patience time.Duration) {
	ctx, cancel := context.WithTimeout(j.t.Context(), patience)
	defer cancel()
	j.client.Close(ctx)
}

// written is every line of the log.
func (j *job) written() (lines []string) {
	j.t.Helper()
	tail := j.log.Tail(0)
	defer tail.Close()
	for {
		line, _, err := tail.Next(j.t.Context())
		if err != nil {
			return lines
		}
		lines = append(lines, string(line))
	}
}

// eventually polls until what is wanted is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
