package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/internal/worker"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// roles are what the test binary can be beside the tests: whole processes, which can be started, and killed.
var roles = map[string]func(args []string) error{
	"worker": func([]string) error { main(); return nil },
	"spy":    spy,
	"sample": sample,
	"probe":  probeSandbox,
	"poor":   runPoor,
	"ask":    func(args []string) error { return ask("", http.MethodGet, args[0]) },
}

// TestMain lets the test binary play its roles.
func TestMain(m *testing.M) {
	agentproc.Dispatch(worker.Helpers()...)
	role, ok := roles[os.Getenv("AICW_TEST_MAIN")]
	if !ok {
		os.Exit(m.Run())
	}
	if err := role(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// proc is a worker process.
type proc struct {
	t    testing.TB
	URL  string
	cmd  *exec.Cmd
	logs *logBuffer
	done chan struct{}
	err  error
}

// startWorker runs this binary as a worker and waits until it listens. It is killed when the test ends.
func startWorker(t testing.TB, env map[string]string) *proc {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startCommand(t, env, self)
}

// startCommand is startWorker by a command that becomes the worker.
func startCommand(t testing.TB, env map[string]string, command ...string) *proc {
	t.Helper()
	p := &proc{t: t, logs: &logBuffer{}, done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.Background(), command[0], command[1:]...)
	p.cmd.Env = []string{"AICW_TEST_MAIN=worker", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "HOST=127.0.0.1", "PORT=0", "LOG_LEVEL=debug"}
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	listening := make(chan string, 1)
	p.logs.watch = func(line []byte) {
		var entry struct{ Message, Addr string }
		if json.Unmarshal(line, &entry) == nil && entry.Message == "listening" {
			listening <- entry.Addr
		}
	}
	p.cmd.Stdout, p.cmd.Stderr = p.logs, p.logs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("worker %s:\n%s", p.URL, p.logs)
		}
	})
	select {
	case addr := <-listening:
		p.URL = "http://" + addr
	case <-p.done:
		t.Fatalf("worker ended before it listened: %v\n%s", p.err, p.logs)
	case <-time.After(20 * time.Second):
		t.Fatalf("worker does not listen\n%s", p.logs)
	}
	return p
}

// kill ends the worker with SIGKILL and waits until it is gone.
func (p *proc) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// exited waits for the worker's own end and returns its exit status.
func (p *proc) exited() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("worker still runs\n%s", p.logs)
	}
	return p.cmd.ProcessState.ExitCode()
}

// logBuffer keeps what a worker logs and shows each whole line to watch.
type logBuffer struct {
	mu    sync.Mutex
	all   bytes.Buffer
	rest  []byte
	watch func(line []byte)
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all.Write(p)
	b.rest = append(b.rest, p...)
	for {
		line, rest, ok := bytes.Cut(b.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		b.watch(line)
		b.rest = rest
	}
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// stream is the client's end of a job: every event as it came.
type stream struct {
	t      testing.TB
	header http.Header
	body   io.ReadCloser
	reader *bufio.Reader
	events []map[string]any
	raw    bytes.Buffer
}

// post sends a request to /execute and expects a stream.
func (p *proc) post(request map[string]any) *stream {
	p.t.Helper()
	status, s, body := p.tryPost(request)
	if status != http.StatusOK {
		p.t.Fatalf("POST /execute: %d %s", status, body)
	}
	return s
}

// tryPost sends a request to /execute; the body is returned where there is no stream.
func (p *proc) tryPost(request map[string]any) (int, *stream, string) {
	p.t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.URL+"/execute", bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return openStream(p.t, req)
}

// follow opens the stream of a session on this worker.
func (p *proc) follow(session, lastEventID string) *stream {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.URL+"/sessions/"+session+"/stream", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	status, s, body := openStream(p.t, req)
	if status != http.StatusOK {
		p.t.Fatalf("GET stream: %d %s", status, body)
	}
	return s
}

func openStream(t testing.TB, req *http.Request) (int, *stream, string) {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, nil, string(body)
	}
	s := &stream{t: t, header: res.Header, body: res.Body}
	s.reader = bufio.NewReader(io.TeeReader(res.Body, &s.raw))
	t.Cleanup(func() { res.Body.Close() })
	return res.StatusCode, s, ""
}

// next reads one event; false at the end of the stream.
func (s *stream) next() (map[string]any, bool) {
	s.t.Helper()
	for {
		line, err := s.reader.ReadString('\n')
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var e map[string]any
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				s.t.Fatalf("event is no JSON: %v: %q", err, data)
			}
			s.events = append(s.events, e)
			return e, true
		}
		if err != nil {
			return nil, false
		}
	}
}

// until reads on to the first event that matches.
func (s *stream) until(match func(map[string]any) bool) map[string]any {
	s.t.Helper()
	for {
		e, ok := s.next()
		if !ok {
			s.t.Fatalf("the stream ended first:\n%s", s)
		}
		if match(e) {
			return e
		}
	}
}

// end reads to the end and returns the terminal event.
func (s *stream) end() map[string]any {
	s.t.Helper()
	for {
		if _, ok := s.next(); !ok {
			break
		}
	}
	if len(s.events) == 0 {
		s.t.Fatal("the stream had no event")
	}
	last := s.events[len(s.events)-1]
	if last["type"] != "completed" && last["type"] != "error" {
		s.t.Fatalf("the stream was cut:\n%s", s)
	}
	return last
}

// completed reads to the end of a job that must succeed.
func (s *stream) completed() map[string]any {
	s.t.Helper()
	last := s.end()
	if last["type"] != "completed" {
		s.t.Fatalf("the job failed:\n%s", s)
	}
	return last
}

// failed reads to the end of a job that must fail with the code.
func (s *stream) failed(code string) map[string]any {
	s.t.Helper()
	last := s.end()
	if last["type"] != "error" || last["code"] != code {
		s.t.Fatalf("want the error %s:\n%s", code, s)
	}
	return last
}

// types lists the types of the events so far.
func (s *stream) types() []string {
	var types []string
	for _, e := range s.events {
		types = append(types, fmt.Sprint(e["type"]))
	}
	return types
}

func (s *stream) String() string {
	var text strings.Builder
	for _, e := range s.events {
		line, _ := json.Marshal(e)
		fmt.Fprintf(&text, "%s\n", line)
	}
	return text.String()
}

func ofType(name string) func(map[string]any) bool {
	return func(e map[string]any) bool { return e["type"] == name }
}

// says matches an assistant_message that holds the text.
func says(text string) func(map[string]any) bool {
	return func(e map[string]any) bool {
		line, _ := json.Marshal(e["data"])
		return e["type"] == "assistant_message" && strings.Contains(string(line), text)
	}
}

const gitToken = "ghp_CANARYgitTOKEN0123456789"

// startGit starts a git host with one private repository and returns the repository's URL.
func startGit(t testing.TB) (*githost.Host, string) {
	t.Helper()
	host, err := githost.Start(githost.Config{Token: gitToken})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	return host, createRepo(t, host, "acme/site", map[string]string{
		"README.md": "# Site\n", "src/main.go": "package main\n\nfunc main() {}\n",
	})
}

func createRepo(t testing.TB, host *githost.Host, name string, files map[string]string) string {
	t.Helper()
	repoURL, err := host.Create(name, files)
	if err != nil {
		t.Fatal(err)
	}
	return repoURL
}

// git runs a git command in a bare repository of the host and returns its output.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "safe.directory=*"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// env is a worker's environment on a directory store.
func env(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{
		"WORKSPACE_DIR": agenttest.Dir(t), "STORAGE_DIR": filepath.Join(t.TempDir(), "store"),
		"STATE_DIR": filepath.Join(t.TempDir(), "state"), "SCRIPT_PROVIDER": "true", "GIT_ALLOW_HTTP": "true", "GIT_ALLOWED_HOSTS": "127.0.0.1", "LEASE_TTL": "2s",
	}
}

// with copies an environment and changes it.
func with(base map[string]string, changes ...string) map[string]string {
	out := make(map[string]string, len(base))
	for k, v := range base {
		out[k] = v
	}
	for i := 0; i < len(changes); i += 2 {
		out[changes[i]] = changes[i+1]
	}
	return out
}

// script is a request for the script provider.
func script(text string, fields ...any) map[string]any {
	request := map[string]any{"userRequest": text, "codingAssistantProvider": "script"}
	for i := 0; i < len(fields); i += 2 {
		request[fields[i].(string)] = fields[i+1]
	}
	return request
}

func github(repoURL string) map[string]any {
	return map[string]any{"repoUrl": repoURL, "accessToken": gitToken}
}

// waitFor polls until what is wanted is true.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// countProcesses counts the live processes whose command line holds the text.
func countProcesses(t testing.TB, text string) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && bytes.Contains(line, []byte(text)) {
			count++
		}
	}
	return count
}

// minioEnv is a worker's environment on a bucket of a real MinIO.
func minioEnv(t testing.TB) map[string]string {
	t.Helper()
	server := storagetest.MinIO(t)
	base := with(env(t), "MINIO_ENDPOINT", server.Endpoint, "MINIO_ACCESS_KEY", server.AccessKey, "MINIO_SECRET_KEY", server.SecretKey,
		"MINIO_BUCKET", "test-"+strings.ToLower(rand.Text()))
	delete(base, "STORAGE_DIR")
	return base
}
