package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

func TestErrorsAreJSON(t *testing.T) {
	w := serve(t, config(t, newRunner(t), newSessions()))
	for name, tc := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		code               string
	}{
		"unknown route":     {"GET", "/debug/pprof", "", nil, 404, "not_found"},
		"trailing slash":    {"GET", "/health/", "", nil, 404, "not_found"},
		"asterisk":          {"OPTIONS", "/", "", nil, 404, "not_found"},
		"wrong method":      {"GET", "/execute", "", nil, 405, "method_not_allowed"},
		"TRACE":             {"TRACE", "/health", "", nil, 405, "method_not_allowed"},
		"form":              {"POST", "/execute", minimal, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "invalid_request"},
		"text":              {"POST", "/execute", minimal, []string{"Content-Type", "text/plain"}, 415, "invalid_request"},
		"no content type":   {"POST", "/execute", minimal, []string{"Content-Type", ""}, 415, "invalid_request"},
		"another charset":   {"POST", "/execute", minimal, []string{"Content-Type", "application/json; charset=utf-16"}, 415, "invalid_request"},
		"malformed":         {"POST", "/execute", "{", nil, 400, "invalid_request"},
		"foreign page":      {"POST", "/abort", "", []string{"Origin", "https://evil.test"}, 403, "forbidden"},
		"limit":             {"GET", "/sessions?limit=x", "", nil, 400, "invalid_request"},
		"limit zero":        {"GET", "/sessions?limit=0", "", nil, 400, "invalid_request"},
		"unknown session":   {"GET", "/sessions/none", "", nil, 404, "session_not_found"},
		"its stream":        {"GET", "/sessions/none/stream", "", nil, 404, "session_not_found"},
		"its events":        {"GET", "/sessions/none/stream", "", []string{"Accept", "text/event-stream"}, 404, "session_not_found"},
		"traversal":         {"GET", "/sessions/..%2f..%2fb/stream", "", nil, 400, "invalid_request"},
		"wildcard":          {"GET", "/sessions/*", "", nil, 400, "invalid_request"},
		"Last-Event-ID":     {"GET", "/sessions/none/stream", "", []string{"Last-Event-ID", "7"}, 400, "invalid_request"},
		"job":               {"GET", "/sessions/none/stream?job=first", "", nil, 400, "invalid_request"},
		"abort, wrong type": {"POST", "/abort", `{"sessionId":1}`, nil, 400, "invalid_request"},
		"abort, traversal":  {"POST", "/abort", `{"sessionId":"../x"}`, nil, 400, "invalid_request"},
		"abort, a form":     {"POST", "/abort", "sessionId=x", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "invalid_request"},
		"abort, malformed":  {"POST", "/abort", "{", nil, 400, "invalid_request"},
	} {
		a := w.do(tc.method, tc.path, tc.body, tc.header...)
		if a.status != tc.status || a.body["error"] != tc.code || a.body["message"] == "" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	a := w.do("GET", "/nowhere", "")
	endpoints, _ := a.body["availableEndpoints"].([]any)
	if len(endpoints) != 12 || !slices.Contains(endpoints, any("GET /sessions/:id/stream")) {
		t.Errorf("endpoints %v", endpoints)
	}
	if a := w.do("GET", "/execute", ""); a.header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q", a.header.Get("Allow"))
	}
}

func TestHealthAndReady(t *testing.T) {
	stored := newSessions()
	down := errors.New("dial tcp: refused")
	stored.ping = func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the ping has no deadline")
		}
		return down
	}
	cfg := config(t, newRunner(t), stored)
	cfg.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	cfg.Sandbox = httpapi.Sandbox{Mode: "basic", Missing: []string{"tcp"}}
	w := serve(t, cfg)
	a := w.do("GET", "/health", "")
	want := map[string]any{
		"status": "ok", "workerStatus": "idle", "containerId": "box", "version": "v1", "timestamp": "2026-01-02T03:04:05.000Z",
		"sandbox": map[string]any{"mode": "basic", "missing": []any{"tcp"}},
	}
	if diff := cmp.Diff(want, a.body); diff != "" || a.status != 200 {
		t.Errorf("%d %s", a.status, diff)
	}
	a = w.do("GET", "/ready", "")
	if a.status != 503 || a.body["error"] != "storage_error" || !strings.Contains(a.raw, "refused") {
		t.Errorf("%d %s", a.status, a.raw)
	}
	down = nil
	if a := w.do("GET", "/ready", ""); a.status != 200 || a.body["status"] != "ready" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestListSessions(t *testing.T) {
	stored := newSessions()
	var asked []string
	stored.list = func(cursor string, limit int) ([]storage.Metadata, string, error) {
		asked = append(asked, fmt.Sprint(cursor, " ", limit))
		if cursor == "end" {
			return nil, "", nil
		}
		return []storage.Metadata{{SessionID: "a", Attempt: 2, Nonce: "canary-nonce"}}, "end", nil
	}
	w := serve(t, config(t, newRunner(t), stored))
	a := w.do("GET", "/sessions", "")
	sessions, _ := a.body["sessions"].([]any)
	if a.status != 200 || a.body["count"] != 1.0 || a.body["nextCursor"] != "end" || a.body["containerId"] != "box" || len(sessions) != 1 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	first, _ := sessions[0].(map[string]any)
	if first["sessionId"] != "a" || first["storage"] != "memory" || first["attempt"] != 2.0 || strings.Contains(a.raw, "canary") {
		t.Errorf("%s", a.raw)
	}
	a = w.do("GET", "/sessions?cursor=end&limit=5000", "")
	if none, ok := a.body["sessions"].([]any); !ok || len(none) != 0 || a.body["nextCursor"] != nil {
		t.Errorf("%s", a.raw)
	}
	if diff := cmp.Diff([]string{" 100", "end 1000"}, asked); diff != "" {
		t.Error(diff)
	}
	stored.list = func(string, int) ([]storage.Metadata, string, error) {
		return nil, "", fmt.Errorf("list: %w", storage.ErrUnavailable)
	}
	if a := w.do("GET", "/sessions", ""); a.status != 503 || a.body["error"] != "storage_error" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// note is a stored event.
func note(attempt, n int) event.Event {
	return event.Event{ID: event.ID{Attempt: attempt, N: n}, Time: time.Now(), Body: event.Notice{Message: fmt.Sprint(attempt, n)}}
}

func done(attempt, n int) event.Event {
	return event.Event{ID: event.ID{Attempt: attempt, N: n}, Time: time.Now(), Body: event.Completed{}}
}

// A client that leaves before its answer is no fault of the worker's.
func TestClientThatLeavesIsNoError(t *testing.T) {
	asked := make(chan struct{})
	stored := newSessions()
	stored.ping = func(ctx context.Context) error {
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	}
	w := serve(t, config(t, newRunner(t), stored))
	conn := w.dial("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-asked
	_ = conn.Close()
	eventually(t, "a line about it", func() bool { return strings.Contains(w.logs.String(), "request failed") })
	if logs := w.logs.String(); strings.Contains(logs, `"level":"error"`) {
		t.Error(logs)
	}
}

func TestShowSessionAndHistory(t *testing.T) {
	stored := newSessions()
	for _, e := range []event.Event{note(1, 1), done(1, 2), note(2, 1)} {
		stored.add("s", e)
	}
	stored.stored["new"] = nil
	w := serve(t, config(t, newRunner(t), stored))
	a := w.do("GET", "/sessions/s", "")
	if a.status != 200 || a.body["sessionId"] != "s" || a.body["eventCount"] != 3.0 || a.body["attempt"] != 2.0 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	a = w.do("GET", "/sessions/s/stream", "", "Accept", "application/json, text/html;q=0.9, text/event-stream;q=0")
	events, _ := a.body["events"].([]any)
	if a.status != 200 || a.body["sessionId"] != "s" || a.body["eventCount"] != 3.0 || len(events) != 3 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if last, _ := events[2].(map[string]any); last["id"] != "2-1" || last["message"] != "2 1" {
		t.Errorf("%s", a.raw)
	}
	a = w.do("GET", "/sessions/new/stream", "")
	if events, ok := a.body["events"].([]any); !ok || len(events) != 0 || a.body["eventCount"] != 0.0 {
		t.Errorf("%s", a.raw)
	}
}

func TestAbort(t *testing.T) {
	stored := newSessions()
	stored.abort = func(id string) (bool, error) {
		if id == "none" {
			return false, fmt.Errorf("abort: %w", storage.ErrNotFound)
		}
		return id == "elsewhere", nil
	}
	r := newRunner(t)
	w := serve(t, config(t, r, stored))
	check := func(body string, status int, outcome string) {
		t.Helper()
		a := w.do("POST", "/abort", body)
		got, _ := firstOf(a.body["status"], a.body["error"]).(string)
		if a.status != status || got != outcome {
			t.Errorf("abort %s: %d %s, want %d %s", body, a.status, a.raw, status, outcome)
		}
	}
	check("", 200, "not_running")
	check("{}", 200, "not_running")
	check(`{"sessionId":"elsewhere"}`, 202, "requested")
	check(`{"sessionId":"still"}`, 200, "not_running")
	check(`{"sessionId":"none"}`, 404, "session_not_found")

	posted := make(chan *stream, 1)
	go func() { posted <- w.stream("POST", "/execute", minimal) }()
	run := r.next()
	log := run.begin("here", 1)
	<-posted
	check(`{"sessionId":"elsewhere"}`, 202, "requested")
	if err := run.ctx.Err(); err != nil {
		t.Errorf("another session's abort reached this job: %v", err)
	}
	check(`{"sessionID":"elsewhere"}`, 400, "invalid_request")
	check(`{"sessionId":"","session":"elsewhere"}`, 400, "invalid_request")
	check(`{"sessionId":"elsewhere","reason":"x"}`, 202, "requested")
	if err := run.ctx.Err(); err != nil {
		t.Errorf("a misspelled abort of another session reached this job: %v", err)
	}
	check(`{"sessionId":"here"}`, 200, "aborting")
	if cause := context.Cause(run.ctx); !errors.Is(cause, orchestrator.ErrAborted) {
		t.Errorf("cause %v", cause)
	}
	check("", 200, "aborting")
	run.end(log, nil)
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

func firstOf(a, b any) any {
	if a != nil {
		return a
	}
	return b
}

func TestAbortBeforeTheJobHasBegun(t *testing.T) {
	r := newRunner(t)
	w := serve(t, config(t, r, newSessions()))
	posted := make(chan answer, 1)
	go func() { posted <- w.do("POST", "/execute", minimal) }()
	run := r.next()
	if a := w.do("POST", "/abort", ""); a.status != 200 || a.body["status"] != "aborting" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	<-run.ctx.Done()
	run.result <- fmt.Errorf("get object: %w", run.ctx.Err())
	if a := <-posted; a.status != 409 || a.body["error"] != "aborted" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestLogHasNoBodiesAndNoPaths(t *testing.T) {
	r := newRunner(t)
	w := serve(t, config(t, r, newSessions()))
	go func() { r.next().result <- errors.New("no") }()
	w.do("POST", "/execute", `{"userRequest":"prompt-canary","codingAssistantProvider":"script","codingAssistantAuthentication":"auth-canary"}`)
	w.do("GET", "/sessions/path-canary?x=query-canary", "", "Authorization", "Bearer header-canary")
	w.do("POST", "/execute", `{"field-canary":`)
	logs := w.logs.String()
	if strings.Contains(logs, "canary") {
		t.Errorf("log: %s", logs)
	}
	for _, want := range []string{`"method":"POST"`, `"route":"/sessions/:id"`, `"status":404`, `"request":"`, `"took":`} {
		if !strings.Contains(logs, want) {
			t.Errorf("log lacks %s: %s", want, logs)
		}
	}
}

func TestHandlerPanics(t *testing.T) {
	stored := newSessions()
	stored.list = func(string, int) ([]storage.Metadata, string, error) { panic("canary-panic") }
	w := serve(t, config(t, newRunner(t), stored))
	a := w.do("GET", "/sessions", "")
	if a.status != 500 || a.body["error"] != "internal_error" || a.body["requestId"] != a.header.Get("X-Request-Id") {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if strings.Contains(a.raw, "canary") || !strings.Contains(w.logs.String(), "canary-panic") {
		t.Errorf("answer %s, log %s", a.raw, w.logs)
	}
	if a := w.do("GET", "/health", ""); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.raw)
	}
}
