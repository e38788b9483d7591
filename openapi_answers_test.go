package root_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	root "github.com/ai-coding-worker/ai-coding-worker"
	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/internal/localpeer"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers/all"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// conforms holds an answer against the document, its headers too. A request that was answered well must conform as well.
func (s *specification) conforms(t *testing.T, req *http.Request, sent string, res *http.Response, body []byte) {
	t.Helper()
	where := fmt.Sprintf("%s %s: %d", req.Method, req.URL.Path, res.StatusCode)
	req = req.Clone(context.WithoutCancel(req.Context()))
	req.Body = io.NopCloser(strings.NewReader(sent))
	if sent == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	whole := *res
	whole.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	defer s.mu.Unlock()
	if res.StatusCode < http.StatusBadRequest {
		if ok, errs := s.wire.ValidateHttpRequest(req); !ok {
			t.Errorf("%s: the request: %s\n%s", where, why(errs), sent)
		}
	}
	if ok, errs := s.wire.ValidateHttpResponse(req, &whole); !ok {
		t.Errorf("%s: the answer: %s\n%s", where, why(errs), body)
	}
}

// seen is what the exchanges of a test have shown: each operation with its statuses, and each schema with its properties.
type seen struct {
	spec       *specification
	statuses   map[string]bool
	properties map[string]map[string]bool
}

// ask sends a request to a worker of its own and holds the answer against the document.
func (s *seen) ask(t *testing.T, w worker, status int, method, path, body string, header ...string) {
	t.Helper()
	server := w.serve(t)
	defer server.Close()
	s.askAt(t, server, status, method, path, body, header...)
}

func (s *seen) askAt(t *testing.T, server *httptest.Server, status int, method, path, body string, header ...string) {
	t.Helper()
	sent := send(t, server, method, path, body, header...)
	s.take(t, sent, status, path, body)
}

// send returns when the answer has begun.
func send(t *testing.T, server *httptest.Server, method, path, body string, header ...string) *http.Response {
	t.Helper()
	var sent io.Reader = strings.NewReader(body)
	if body == slowly {
		sent = &hanging{ctx: t.Context()}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, sent)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return res
}

// take reads an answer to its end.
func (s *seen) take(t *testing.T, res *http.Response, status int, path, body string) {
	t.Helper()
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		t.Errorf("%s %s: status %d, want %d: %s, %v", res.Request.Method, path, res.StatusCode, status, answer, err)
	}
	s.spec.conforms(t, res.Request, strings.TrimPrefix(body, slowly), res, answer)
	s.note(t, res.Request.Method, path, res, answer)
}

// note remembers what an answer has shown.
func (s *seen) note(t *testing.T, method, path string, res *http.Response, answer []byte) {
	t.Helper()
	path, _, _ = strings.Cut(path, "?")
	if rest, ok := strings.CutPrefix(path, "/sessions/"); ok {
		_, tail, _ := strings.Cut(rest, "/")
		path = strings.TrimSuffix("/sessions/{id}/"+tail, "/")
	}
	status := fmt.Sprint(res.StatusCode)
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	s.statuses[strings.Join([]string{method, path, status, media}, " ")] = true
	if media == "text/event-stream" {
		s.noteStream(t, answer)
	}
	if media != "application/json" {
		return
	}
	schema := s.spec.at(t, "paths", path, strings.ToLower(method), "responses", status, "content", media).(map[string]any)["schema"]
	var decoded any
	if err := json.Unmarshal(answer, &decoded); err != nil {
		t.Fatal(err)
	}
	s.noteValue(t, schema, decoded)
}

// noteStream holds each event of a stream against the document.
func (s *seen) noteStream(t *testing.T, answer []byte) {
	t.Helper()
	found := 0
	for line := range strings.Lines(string(answer)) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			found++
			if err := s.spec.check(t, schemaOf("Event"), json.RawMessage(data)); err != nil {
				t.Errorf("%v\n%s", err, data)
			}
		}
	}
	if found == 0 {
		t.Errorf("a stream without an event: %q", answer)
	}
}

// noteValue goes down a value and its schema, as far as the schema has names.
func (s *seen) noteValue(t *testing.T, schema, value any) {
	t.Helper()
	named, _ := schema.(map[string]any)
	ref, _ := named["$ref"].(string)
	name := strings.TrimPrefix(ref, "#/components/schemas/")
	fields, isObject := value.(map[string]any)
	inner, _ := s.spec.follow(t, schema).(map[string]any)
	properties, _ := inner["properties"].(map[string]any)
	if isObject {
		for key, child := range fields {
			if s.properties[name] == nil {
				s.properties[name] = make(map[string]bool)
			}
			s.properties[name][key] = true
			s.noteValue(t, properties[key], child)
		}
		return
	}
	if list, ok := value.([]any); ok {
		for _, child := range list {
			s.noteValue(t, inner["items"], child)
		}
	}
}

// slowly is a body that does not come to its end.
const slowly = "\x00slowly"

type hanging struct {
	ctx  context.Context
	sent bool
}

func (h *hanging) Read(p []byte) (int, error) {
	if !h.sent {
		h.sent = true
		return copy(p, "{"), nil
	}
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

// worker is a server whose job and store do what a test wants.
type worker struct {
	run      func(ctx context.Context, job orchestrator.Job, ready func(orchestrator.Started)) error
	sessions sessions
	locked   bool
	small    bool // takes hardly a body
	guarded  bool // serves nobody
	hasty    bool // waits hardly for one
}

func (w worker) Run(ctx context.Context, job orchestrator.Job, ready func(orchestrator.Started)) error {
	return w.run(ctx, job, ready)
}

const answersKey = "canary-0123456789"

func (w worker) serve(t *testing.T) *httptest.Server {
	t.Helper()
	cfg := httpapi.Config{
		Sandbox: httpapi.Sandbox{Mode: "basic", Missing: []string{"tcp", "signals"}},
		Runner:  w, Snapshots: shownFiles{}, Sessions: w.sessions, Providers: all.New(all.Config{Script: true}),
		CheckRepoURL: gitops.New(gitops.Config{}).CheckURL, ContainerID: shownContainer, Version: shownVersion, Storage: "minio",
		Now: time.Now, Log: zerolog.Nop(),
	}
	if w.hasty {
		cfg.Timing.Body = 50 * time.Millisecond
	}
	if w.locked {
		cfg.APIKeys = []secret.String{secret.New(answersKey)}
	}
	if w.guarded {
		cfg.Guard = localpeer.NewGuard(uint32(os.Geteuid()))
	}
	if w.small {
		cfg.MaxBody = 8
	}
	return httptest.NewServer(httpapi.New(cfg).Handler())
}

func failing(err error) worker {
	return worker{
		run:      func(context.Context, orchestrator.Job, func(orchestrator.Started)) error { return err },
		sessions: sessions{away: err},
	}
}

// TestOpenAPIDescribesTheAnswers brings about every answer that the document has.
func TestOpenAPIDescribesTheAnswers(t *testing.T) {
	spec := readSpecification(t)
	all := &seen{spec: spec, statuses: make(map[string]bool), properties: make(map[string]map[string]bool)}
	const session, body = "/sessions/" + shownSession, `{"userRequest":"x","codingAssistantProvider":"script"}`
	api := readDocument(t, "API.md")
	stored := worker{sessions: withSession(t, api, "GET /sessions/:id").sessions}
	running := worker{sessions: withSession(t, api, "GET /sessions").sessions}
	running.sessions.running = true
	history := worker{sessions: withSession(t, api, "GET /sessions/:id/stream").sessions}

	for _, endpoint := range [][2]string{
		{"POST", "/execute"},
		{"POST", "/abort"},
		{"POST", "/shutdown"},
		{"GET", "/openapi.yaml"},
		{"GET", "/sessions"},
		{"GET", session},
		{"DELETE", session},
		{"GET", session + "/files"},
		{"GET", session + "/stream"},
	} {
		all.ask(t, worker{locked: true}, 401, endpoint[0], endpoint[1], "")
		header := []string{"Origin", "https://evil.example.com"}
		if endpoint[0] == "GET" {
			header = []string{"Host", "evil.example.com"}
		}
		all.ask(t, worker{}, 403, endpoint[0], endpoint[1], "", header...)
	}
	for _, path := range []string{"/health", "/ready", "/status"} {
		all.ask(t, worker{guarded: true}, 403, "GET", path, "")
	}
	for err, status := range map[error]int{storage.ErrCorrupt: 500, storage.ErrUnavailable: 503, storage.ErrNotFound: 404, storage.ErrBusy: 409} {
		if status != 404 {
			all.ask(t, failing(err), status, "DELETE", session, "")
		}
		if status == 409 {
			continue
		}
		all.ask(t, failing(err), status, "POST", "/abort", `{"sessionId":"s"}`)
		all.ask(t, failing(err), status, "GET", session, "")
		all.ask(t, failing(err), status, "GET", session+"/files", "")
		all.ask(t, failing(err), status, "GET", session+"/stream", "")
		if status != 404 {
			all.ask(t, failing(err), status, "GET", "/sessions", "")
		}
	}
	for _, path := range []string{"/sessions/a..b", "/sessions/a..b/files", "/sessions/a..b/stream", "/sessions?limit=x"} {
		all.ask(t, worker{}, 400, "GET", path, "")
	}
	all.ask(t, worker{}, 400, "DELETE", "/sessions/a..b", "")
	for _, path := range []string{"/execute", "/abort"} {
		all.ask(t, worker{}, 400, "POST", path, "{")
		all.ask(t, worker{hasty: true}, 408, "POST", path, slowly, "Content-Type", "application/json")
		all.ask(t, worker{small: true}, 413, "POST", path, body)
		all.ask(t, worker{}, 415, "POST", path, body, "Content-Type", "text/plain")
	}
	all.ask(t, stored, 200, "GET", session, "")
	all.ask(t, running, 200, "GET", "/sessions?limit=20&cursor=a", "")
	all.ask(t, stored, 200, "GET", session+"/files", "")
	all.ask(t, history, 200, "GET", session+"/stream?job=latest", "", "Accept", "text/event-stream", "Last-Event-ID", "1-1")
	all.ask(t, history, 200, "GET", session+"/stream", "")
	all.ask(t, worker{}, 200, "DELETE", session, "")
	all.ask(t, worker{}, 200, "POST", "/abort", "")
	all.ask(t, running, 202, "POST", "/abort", `{"sessionId":"s"}`)
	all.ask(t, worker{}, 202, "POST", "/shutdown", "")
	all.ask(t, worker{}, 200, "GET", "/openapi.yaml", "")
	all.ask(t, worker{}, 200, "GET", "/health", "")
	all.ask(t, worker{}, 200, "GET", "/ready", "")
	all.ask(t, worker{locked: true}, 200, "GET", "/ready", "")
	all.ask(t, failing(storage.ErrUnavailable), 503, "GET", "/ready", "")
	locked := failing(storage.ErrUnavailable)
	locked.locked = true
	all.ask(t, locked, 503, "GET", "/ready", "")
	all.ask(t, worker{}, 200, "GET", "/status", "")
	all.ask(t, worker{locked: true}, 200, "GET", "/status", "")

	all.ask(t, failing(storage.ErrNotFound), 404, "POST", "/execute", body)
	all.ask(t, failing(storage.ErrBusy), 409, "POST", "/execute", body)
	all.ask(t, failing(errors.New("canary")), 500, "POST", "/execute", body)
	all.ask(t, failing(storage.ErrUnavailable), 503, "POST", "/execute", body)
	all.ask(t, failing(orchestrator.ErrTimeout), 504, "POST", "/execute", body)
	all.ask(t, worker{}, 400, "POST", "/execute", `{"userRequest":"x","codingAssistantProvider":"none"}`)
	all.whileBusy(t, body)
	all.nothingMissing(t)
}

// whileBusy asks a worker with a job, and then one that is about to exit.
func (s *seen) whileBusy(t *testing.T, body string) {
	t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	server := worker{run: func(_ context.Context, _ orchestrator.Job, ready func(orchestrator.Started)) error {
		log, err := eventlog.Create(eventlog.Config{Path: filepath.Join(t.TempDir(), "log"), Attempt: 1, Now: time.Now})
		if err != nil {
			return err
		}
		defer log.Close()
		ready(orchestrator.Started{SessionID: shownSession, Attempt: 1, Log: log})
		close(begun)
		<-end
		if err := log.Finish(event.Completed{SessionID: shownSession}); err != nil {
			return err
		}
		log.Reveal()
		return nil
	}}.serve(t)
	defer server.Close()
	stream := send(t, server, "POST", "/execute", body)
	<-begun
	s.askAt(t, server, 429, "GET", "/status", "")
	s.askAt(t, server, 429, "POST", "/execute", body)
	s.askAt(t, server, 202, "POST", "/shutdown", "")
	s.askAt(t, server, 503, "GET", "/status", "")
	s.askAt(t, server, 200, "POST", "/abort", "")
	close(end)
	s.take(t, stream, 200, "/execute", body)
}

// nothingMissing reports what the document has and no answer has shown.
func (s *seen) nothingMissing(t *testing.T) {
	t.Helper()
	for _, operation := range s.spec.operations(t) {
		method, path, _ := strings.Cut(strings.ReplaceAll(operation, ":id", "{id}"), " ")
		for status := range s.spec.at(t, "paths", path, strings.ToLower(method), "responses").(map[string]any) {
			for media := range s.spec.at(t, "paths", path, strings.ToLower(method), "responses", status, "content").(map[string]any) {
				if answer := strings.Join([]string{method, path, status, media}, " "); !s.statuses[answer] {
					t.Errorf("%s is described, and no worker answered so", answer)
				}
			}
		}
	}
	elsewhere := []string{"Error.availableEndpoints"} // of no operation
	for _, name := range []string{"Error", "Abort", "Deleted", "Draining", "Health", "Ready", "Status", "Session", "SessionList", "File", "FileList", "History"} {
		for property := range s.spec.at(t, "components", "schemas", name, "properties").(map[string]any) {
			if !s.properties[name][property] && !slices.Contains(elsewhere, name+"."+property) {
				t.Errorf("%s.%s is described, and in no answer", name, property)
			}
		}
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	server := documented{now: shownTime}.server(t)
	if status, body := ask(t, server, http.MethodGet, "/openapi.yaml", ""); status != http.StatusOK || body != string(root.OpenAPI) {
		t.Errorf("status %d, %d bytes", status, len(body))
	}
}
