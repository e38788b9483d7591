package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// provider is a coding assistant that is only asked whether it takes a task.
type provider struct {
	info  providers.Info
	check func(providers.Task) error
}

func (p provider) Info() providers.Info { return p.info }

func (p provider) Check(t providers.Task) error {
	if p.check == nil {
		return nil
	}
	return p.check(t)
}

func (p provider) Run(context.Context, providers.Task, func(providers.Message) error) (providers.Result, error) {
	return providers.Result{}, errors.New("not run here")
}

func registry() *providers.Registry {
	return providers.NewRegistry(
		provider{info: providers.Info{Name: "script"}},
		provider{
			info: providers.Info{Name: "claude-code", Aliases: []string{"ClaudeAgentSDK"}, NeedsCredential: true},
			check: func(t providers.Task) error {
				if t.Options.Model == "bad" {
					return &providers.FieldError{Field: "providerOptions.model", Reason: "no such model"}
				}
				return nil
			},
		},
	)
}

// runner hands each job to the test, which decides what becomes of it.
type runner struct {
	t    testing.TB
	runs chan *run
}

type run struct {
	t      testing.TB
	ctx    context.Context
	job    orchestrator.Job
	ready  func(orchestrator.Started)
	result chan error
}

func newRunner(t testing.TB) *runner { return &runner{t: t, runs: make(chan *run)} }

func (r *runner) Run(ctx context.Context, job orchestrator.Job, ready func(orchestrator.Started)) error {
	run := &run{t: r.t, ctx: ctx, job: job, ready: ready, result: make(chan error, 1)}
	r.runs <- run
	return <-run.result
}

// next is the job that was taken.
func (r *runner) next() *run {
	r.t.Helper()
	select {
	case run := <-r.runs:
		r.t.Cleanup(func() {
			select {
			case run.result <- nil:
			default:
			}
		})
		return run
	case <-time.After(patience):
		r.t.Fatal("no job came")
		return nil
	}
}

// begin opens the job's log and says that it has begun.
func (r *run) begin(id string, attempt int) *eventlog.Log {
	r.t.Helper()
	log, err := eventlog.Create(eventlog.Config{Path: filepath.Join(r.t.TempDir(), "log"), Attempt: attempt, Now: time.Now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = log.Close() })
	r.ready(orchestrator.Started{SessionID: id, Attempt: attempt, Log: log})
	return log
}

// end tells readers and the worker that the job is over.
func (r *run) end(log *eventlog.Log, err error) {
	r.t.Helper()
	if err := log.Finish(event.Completed{}); err != nil {
		r.t.Error(err)
	}
	log.Reveal()
	r.result <- err
}

func say(t testing.TB, log *eventlog.Log, text string) {
	t.Helper()
	if _, err := log.Append(event.Notice{Message: text}); err != nil {
		t.Fatal(err)
	}
}

// worker is a server on a real socket.
type worker struct {
	t      testing.TB
	url    string
	addr   string
	stop   context.CancelFunc
	served chan error
	logs   *logBuffer
	http   *http.Client
}

// logBuffer is what the server logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func config(t testing.TB, r httpapi.Runner, stored *sessions) httpapi.Config {
	return httpapi.Config{
		Runner: r, Sessions: stored, Providers: registry(),
		CheckRepoURL: func(url string) error {
			if !strings.HasPrefix(url, "https://") {
				return errors.New("must begin with https://")
			}
			return nil
		},
		ContainerID: "box", Version: "v1", Now: time.Now, Storage: "memory",
		DefaultCredential: secret.String{},
	}
}

func serve(t testing.TB, cfg httpapi.Config) *worker {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, cfg, ln)
}

func serveOn(t testing.TB, cfg httpapi.Config, ln net.Listener) *worker {
	t.Helper()
	w := &worker{t: t, served: make(chan error, 1), logs: new(logBuffer)}
	cfg.Log = zerolog.New(w.logs)
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.addr, w.url = stop, ln.Addr().String(), "http://"+ln.Addr().String()
	w.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
	server := httpapi.New(cfg)
	go func() { w.served <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		w.http.CloseIdleConnections()
	})
	return w
}

// wait is what Serve returned.
func (w *worker) wait() error {
	w.t.Helper()
	select {
	case err := <-w.served:
		return err
	case <-time.After(patience):
		w.t.Fatal("Serve did not return")
		return nil
	}
}

// answer is a JSON response.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
}

func (w *worker) do(method, path, body string, header ...string) answer {
	w.t.Helper()
	resp := w.open(context.Background(), method, path, body, header...)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Error(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if err := json.Unmarshal(raw, &a.body); err != nil {
		w.t.Errorf("%s %s: %d: not JSON: %q", method, path, resp.StatusCode, raw)
	}
	if got := resp.Header.Get("X-Container-ID"); got != "box" {
		w.t.Errorf("%s %s: X-Container-ID %q", method, path, got)
	}
	return a
}

func (w *worker) open(ctx context.Context, method, path, body string, header ...string) *http.Response {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// minimal is the smallest good request.
const minimal = `{"userRequest":"do it","codingAssistantProvider":"script"}`

// eventually waits for what other goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
