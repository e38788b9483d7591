package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
)

type bench struct {
	dir    string
	rounds int
	binary string
	host   *githost.Host
	small  string // the URL of a small repository
	n      int
}

func (b *bench) startGit() error {
	host, err := githost.Start(githost.Config{})
	if err != nil {
		return err
	}
	b.host = host
	b.small, err = host.Create("bench/small", map[string]string{"README.md": "# Small\n", "main.go": "package main\n"})
	return err
}

func (b *bench) close() { _ = b.host.Close() }

// process is a worker under measurement.
type process struct {
	cmd  *exec.Cmd
	url  string
	boot time.Duration // from the start of the process to the answer of /health
}

func (b *bench) start(ctx context.Context, store map[string]string) (*process, error) {
	b.n++
	workspaces := filepath.Join(os.TempDir(), fmt.Sprintf("aicw-bench-ws-%d-%d", os.Getpid(), b.n))
	port := 20000 + (os.Getpid()*7+b.n)%20000
	p := &process{cmd: exec.CommandContext(ctx, b.binary), url: "http://127.0.0.1:" + strconv.Itoa(port)}
	p.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOST=127.0.0.1", "PORT=" + strconv.Itoa(port), "WORKSPACE_DIR=" + workspaces,
		"SCRIPT_PROVIDER=true", "GIT_ALLOW_HTTP=true", "GIT_ALLOWED_HOSTS=127.0.0.1", "LOG_LEVEL=warn",
	}
	for k, v := range store {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stderr = os.Stderr
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(begun) < 10*time.Second {
		res, err := http.Get(p.url + "/health")
		if err == nil {
			res.Body.Close()
			p.boot = time.Since(begun)
			return p, nil
		}
		time.Sleep(200 * time.Microsecond)
	}
	p.kill()
	return nil, fmt.Errorf("the worker does not answer")
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// rss is the resident memory in bytes.
func (p *process) rss() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb * 1024
		}
	}
	return 0
}

// timing is what one job took, seen from its client.
type timing struct {
	connected, pulled, total time.Duration
	busyRSS                  int64
}

// job runs one job of the script provider to its end and waits for the worker's exit.
func (p *process) job(ctx context.Context, text, repoURL string) (timing, error) {
	request := map[string]any{"userRequest": text, "codingAssistantProvider": "script"}
	if repoURL != "" {
		request["github"] = map[string]any{"repoUrl": repoURL}
	}
	body, err := json.Marshal(request)
	if err != nil {
		return timing{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/execute", strings.NewReader(string(body)))
	if err != nil {
		return timing{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	begun := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return timing{}, err
	}
	defer res.Body.Close()
	t, err := p.read(res.Body, begun)
	if err != nil {
		return t, err
	}
	return t, p.exit()
}

func (p *process) read(body io.Reader, begun time.Time) (timing, error) {
	var t timing
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return t, fmt.Errorf("the stream was cut: %w", err)
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		switch {
		case strings.HasPrefix(data, `{"type":"connected"`):
			t.connected = time.Since(begun)
		case strings.HasPrefix(data, `{"type":"github_pull_progress"`) && strings.Contains(data, `"completed"`):
			t.pulled = time.Since(begun)
		case strings.HasPrefix(data, `{"type":"assistant_message"`):
			t.busyRSS = max(t.busyRSS, p.rss())
		case strings.HasPrefix(data, `{"type":"completed"`):
			t.total = time.Since(begun)
			return t, nil
		case strings.HasPrefix(data, `{"type":"error"`):
			return t, fmt.Errorf("the job failed: %s", data)
		}
	}
}

// exit waits for the worker's own end.
func (p *process) exit() error {
	timer := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Signal(syscall.SIGKILL) })
	defer timer.Stop()
	return p.cmd.Wait()
}
