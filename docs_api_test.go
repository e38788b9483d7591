package root_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/internal/localpeer"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers/all"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// shownTime, shownVersion and shownContainer are what API.md's worker tells about itself.
const (
	shownTime      = "2026-03-14T09:26:50.000Z"
	shownVersion   = "v0.1.0"
	shownContainer = "4f1c2d3e5a6b"
)

// documented is a worker without a job or a store: it answers as API.md's worker does.
type documented struct {
	job      func(ctx context.Context) error // what a job does; it never begins
	script   bool                            // offers the provider script, too
	keys     []secret.String
	guard    *localpeer.Guard
	sessions sessions
	now      string
}

func (d documented) Run(ctx context.Context, _ orchestrator.Job, _ func(orchestrator.Started)) error {
	return d.job(ctx)
}

func (d documented) server(t *testing.T) *httptest.Server {
	t.Helper()
	now, err := time.Parse(time.RFC3339, d.now)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(httpapi.New(httpapi.Config{
		Runner: d, Sessions: d.sessions, Snapshots: shownFiles{}, Providers: all.New(all.Config{ClaudePath: "/usr/bin/claude", CodexPath: "/usr/bin/codex", Script: d.script}),
		CheckRepoURL: gitops.New(gitops.Config{}).CheckURL, APIKeys: d.keys, Guard: d.guard, ContainerID: shownContainer, Version: shownVersion, Storage: "minio", Sandbox: httpapi.Sandbox{Mode: "basic", Missing: []string{}},
		Now: func() time.Time { return now }, Log: zerolog.Nop(),
	}).Handler())
	t.Cleanup(server.Close)
	return server
}

// sessions is a store with one session in it, or one that cannot be reached.
type sessions struct {
	away     error
	running  bool // a job elsewhere hears a wish to abort it
	metadata storage.Metadata
	next     string
	lines    []json.RawMessage
}

func (s sessions) Ping(context.Context) error { return s.away }

func (s sessions) Metadata(context.Context, string) (storage.Metadata, error) {
	return s.metadata, s.away
}

func (s sessions) List(context.Context, string, int) ([]storage.Metadata, string, error) {
	return []storage.Metadata{s.metadata}, s.next, s.away
}

func (s sessions) Events(_ context.Context, _ string, _ event.ID, emit func([]byte) error) error {
	for _, line := range s.lines {
		if err := emit(line); err != nil {
			return err
		}
	}
	return s.away
}

func (s sessions) Follow(ctx context.Context, id string, after event.ID, emit func([]byte) error) error {
	return s.Events(ctx, id, after, emit)
}

func (s sessions) Delete(context.Context, string) error { return s.away }

func (s sessions) Snapshot(context.Context, string) (*snapshot.Ref, snapshot.Getter, error) {
	return &snapshot.Ref{}, nil, s.away
}

// shownFiles is what every snapshot of API.md's worker holds.
type shownFiles struct{}

func (shownFiles) List(_ context.Context, _ snapshot.Ref, _ snapshot.Getter, emit func(snapshot.Entry) error) error {
	at := time.Date(2026, 3, 14, 9, 27, 20, 71000000, time.UTC)
	return errors.Join(
		emit(snapshot.Entry{Path: "checkout/repo/main.go", Mode: 0o644, Size: 1834, Modified: at}),
		emit(snapshot.Entry{Path: "checkout/repo/latest", Mode: fs.ModeSymlink | 0o777, Target: "main.go", Modified: at}),
	)
}

func (s sessions) RequestAbort(context.Context, string) (bool, error) { return s.running, s.away }

// TestRequestExamplesAreAccepted sends every request of the documents to the real decoder. A job that is taken up to
// the point where it would start is refused there, as one whose session is busy.
func TestRequestExamplesAreAccepted(t *testing.T) {
	server := documented{now: shownTime, script: true, job: func(context.Context) error { return storage.ErrBusy }}.server(t)
	found := 0
	for _, doc := range documents(t) {
		for _, e := range doc.examples() {
			var fields map[string]json.RawMessage
			if json.Unmarshal(e.raw, &fields) != nil || fields["userRequest"] == nil {
				continue
			}
			found++
			if status, body := ask(t, server, http.MethodPost, "/execute", string(e.raw)); status != http.StatusConflict {
				t.Errorf("%s:%d: the worker refuses this request: %d %s", e.doc, e.line, status, body)
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d requests in the documents", found)
	}
}

func TestAnswerExamplesAreWhatTheWorkerAnswers(t *testing.T) {
	doc := readDocument(t, "API.md")
	idle := documented{now: shownTime}
	locked := documented{now: shownTime, keys: []secret.String{secret.New("canary-0123456789")}}
	for _, tt := range []struct {
		section            string
		example            int // of the section
		worker             documented
		method, path, body string
		status             int
	}{
		{"Transport", 0, locked, http.MethodGet, "/sessions", ``, http.StatusUnauthorized},
		{"Transport", 1, documented{now: shownTime, guard: localpeer.NewGuard(uint32(os.Geteuid()))}, http.MethodGet, "/status", ``, http.StatusForbidden},
		{"Transport", 2, idle, http.MethodPost, "/execute", `{}`, http.StatusBadRequest},
		{"Transport", 3, idle, http.MethodGet, "/nowhere", ``, http.StatusNotFound},
		{"codingAssistantProvider", 0, idle, http.MethodPost, "/execute", `{"userRequest":"x","codingAssistantProvider":"cursor"}`, http.StatusBadRequest},
		{"GET /health", 0, idle, http.MethodGet, "/health", ``, http.StatusOK},
		{"GET /ready", 0, idle, http.MethodGet, "/ready", ``, http.StatusOK},
		{"GET /ready", 1, unreachable(), http.MethodGet, "/ready", ``, http.StatusServiceUnavailable},
		{"GET /status", 0, idle, http.MethodGet, "/status", ``, http.StatusOK},
		{"POST /shutdown", 0, idle, http.MethodPost, "/shutdown", ``, http.StatusAccepted},
		{"GET /sessions", 0, withSession(t, doc, "GET /sessions"), http.MethodGet, "/sessions", ``, http.StatusOK},
		{"GET /sessions/:id", 0, withSession(t, doc, "GET /sessions/:id"), http.MethodGet, "/sessions/some", ``, http.StatusOK},
		{"GET /sessions/:id/files", 0, idle, http.MethodGet, "/sessions/" + shownSession + "/files", ``, http.StatusOK},
		{"DELETE /sessions/:id", 0, idle, http.MethodDelete, "/sessions/" + shownSession, ``, http.StatusOK},
		{"GET /sessions/:id/stream", 0, withSession(t, doc, "GET /sessions/:id/stream"), http.MethodGet, "/sessions/" + shownSession + "/stream", ``, http.StatusOK},
	} {
		t.Run(tt.section, func(t *testing.T) {
			status, body := ask(t, tt.worker.server(t), tt.method, tt.path, tt.body)
			if status != tt.status {
				t.Errorf("status %d, want %d: %s", status, tt.status, body)
			}
			sameAnswer(t, doc.sectionExamples(t, tt.section)[tt.example], body)
		})
	}
}

// TestEndpointsOfReadmeAreThoseOfTheWorker reads them from an example that the test before has compared with the worker's answer.
func TestEndpointsOfReadmeAreThoseOfTheWorker(t *testing.T) {
	api, readme := readDocument(t, "API.md"), readDocument(t, "README.md")
	var shown struct{ AvailableEndpoints []string }
	if err := json.Unmarshal(api.sectionExamples(t, "Transport")[3].raw, &shown); err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range readme.table(t, "Endpoints") {
		listed = append(listed, words(row[0])...)
	}
	if diff := cmp.Diff(sorted(shown.AvailableEndpoints), sorted(listed)); diff != "" {
		t.Errorf("endpoints (-worker +README.md):\n%s", diff)
	}
	for _, endpoint := range shown.AvailableEndpoints {
		if !slices.Contains(readHeadings(t, "API.md"), endpoint) {
			t.Errorf("API.md has no heading %q", endpoint)
		}
	}
}

// TestBusyAnswerExamplesAreWhatTheWorkerAnswers gives the worker a job that goes on until it is aborted.
func TestBusyAnswerExamplesAreWhatTheWorkerAnswers(t *testing.T) {
	doc := readDocument(t, "API.md")
	started := make(chan struct{})
	server := documented{now: "2026-03-14T09:26:53.589Z", job: func(ctx context.Context) error {
		close(started)
		<-ctx.Done()
		return context.Cause(ctx)
	}}.server(t)
	request := fmt.Sprintf(`{"userRequest":"x","codingAssistantProvider":"claude","codingAssistantAuthentication":"sk","websiteSessionId":%q}`, shownSession)
	over := make(chan int, 1)
	go func() {
		status, _ := ask(t, server, http.MethodPost, "/execute", request)
		over <- status
	}()
	<-started
	for _, tt := range []struct {
		section      string
		example      int
		method, path string
		body         string
		status       int
	}{
		{"GET /status", 1, http.MethodGet, "/status", ``, http.StatusTooManyRequests},
		{"Before the stream", 0, http.MethodPost, "/execute", request, http.StatusTooManyRequests},
		{"POST /abort", 1, http.MethodPost, "/abort", string(doc.sectionExamples(t, "POST /abort")[0].raw), http.StatusOK},
	} {
		status, body := ask(t, server, tt.method, tt.path, tt.body)
		if status != tt.status {
			t.Errorf("%s: status %d, want %d: %s", tt.section, status, tt.status, body)
		}
		sameAnswer(t, doc.sectionExamples(t, tt.section)[tt.example], body)
	}
	if status := <-over; status != http.StatusConflict {
		t.Errorf("the aborted request got %d, want 409", status)
	}
}

// shownSession is the session of API.md's examples.
const shownSession = "3f6c1e0a-7d57-4c7e-9d0b-2f0a6f3f9b11"

func unreachable() documented {
	return documented{now: shownTime, sessions: sessions{away: fmt.Errorf("%w: connection refused", storage.ErrUnavailable)}}
}

// withSession is a worker whose store holds what a section's first example shows.
func withSession(t *testing.T, doc document, section string) documented {
	t.Helper()
	raw := doc.sectionExamples(t, section)[0].raw
	var shown struct {
		Sessions   []json.RawMessage
		Events     []json.RawMessage
		NextCursor string
		EventCount int
	}
	if err := json.Unmarshal(raw, &shown); err != nil {
		t.Fatal(err)
	}
	s := sessions{next: shown.NextCursor}
	if len(shown.Sessions) > 0 {
		raw = shown.Sessions[0]
	}
	if err := json.Unmarshal(raw, &s.metadata); err != nil {
		t.Fatal(err)
	}
	for i := range shown.EventCount {
		line := json.RawMessage(`{}`)
		if i < len(shown.Events) {
			line = json.RawMessage(compact(t, example{doc: doc.path, raw: shown.Events[i]}))
		}
		s.lines = append(s.lines, line)
	}
	return documented{now: shownTime, sessions: s}
}

// ask sends one request and returns the whole answer.
func ask(t *testing.T, server *httptest.Server, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := server.Client().Do(req)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return 0, ""
	}
	defer res.Body.Close()
	if got := res.Header.Get("X-Container-ID"); got != shownContainer {
		t.Errorf("%s %s: X-Container-ID is %q", method, path, got)
	}
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	if !slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed}, res.StatusCode) { // of routes that nobody describes
		readSpecification(t).conforms(t, req, body, res, answer)
	}
	return res.StatusCode, string(answer)
}

// sameAnswer compares an example with an answer: names, values and their order. The ID of a request is another one each time.
func sameAnswer(t *testing.T, e example, answer string) {
	t.Helper()
	want, got := compact(t, e), compact(t, example{doc: "answer", raw: json.RawMessage(answer)})
	var shown, real struct{ RequestID string }
	if json.Unmarshal([]byte(want), &shown) == nil && json.Unmarshal([]byte(got), &real) == nil && shown.RequestID != "" && real.RequestID != "" {
		want = strings.ReplaceAll(want, shown.RequestID, real.RequestID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s:%d: the example and the worker's answer differ (-example +worker):\n%s", e.doc, e.line, diff)
	}
}

// sectionExamples are the examples below a heading, in order.
func (d *document) sectionExamples(t *testing.T, title string) []example {
	t.Helper()
	first, last := d.bounds(t, title)
	var out []example
	for _, e := range d.examples() {
		if e.line > first && e.line <= last {
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s has no example below %q", d.path, title)
	}
	return out
}
