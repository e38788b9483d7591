package main

import (
	"context"
	"fmt"
	"net"
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
	dir       string
	rounds    int
	binary    string
	minioPath string
	minio     *minioServer // nil: its rows are left out
	host      *githost.Host
	small     string // the URL of a small repository
	workers   int    // started so far
}

func (b *bench) startGit() (err error) {
	if b.host, err = githost.Start(githost.Config{}); err != nil {
		return err
	}
	b.small, err = b.host.Create("bench/small", map[string]string{"README.md": "# Small\n", "main.go": "package main\n"})
	return err
}

// process is a worker under measurement.
type process struct {
	cmd    *exec.Cmd
	url    string
	boot   time.Duration // from the start of the process to the answer of /health
	exited chan struct{}
}

// start starts a worker on a store and waits until it answers.
func (b *bench) start(ctx context.Context, store map[string]string) (*process, error) {
	b.workers++
	workspaces := filepath.Join(b.dir, fmt.Sprintf("workspaces-%d", b.workers))
	if err := os.Mkdir(workspaces, 0o700); err != nil { // empty: the worker opens it to the agent
		return nil, err
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(addr)
	p := &process{cmd: exec.CommandContext(ctx, b.binary), url: "http://" + addr, exited: make(chan struct{})}
	p.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOST=" + host, "PORT=" + port, "WORKSPACE_DIR=" + workspaces,
		"SCRIPT_PROVIDER=true", "GIT_ALLOW_HTTP=true", "GIT_ALLOWED_HOSTS=127.0.0.1", "LOG_LEVEL=error",
	}
	for k, v := range store {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stderr = os.Stderr
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
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

// freeAddr is an address on loopback where nobody listens.
func freeAddr(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// kill ends a worker that has not ended by itself.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// exit waits for the worker's own end, half a minute at most.
func (p *process) exit() error {
	timer := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Signal(syscall.SIGKILL) })
	defer timer.Stop()
	<-p.exited
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("the worker ended badly: %s", p.cmd.ProcessState)
	}
	return nil
}

// memory is a field of /proc/<pid>/status in bytes: VmRSS is the resident memory, VmHWM the most that it was.
func (p *process) memory(field string) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb * 1024
		}
	}
	return 0
}
