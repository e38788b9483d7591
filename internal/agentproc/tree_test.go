package agentproc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
)

// prompt is how soon a tree must be gone: within a second, and another one for a busy machine.
const prompt = 2 * time.Second

var kinds = []string{"plain", "session", "orphan", "daemon", "stopped", "reaper"}

func TestEveryWayToEndACommandEndsItsTree(t *testing.T) {
	ends := map[string]func(*agentproc.Agent, *agentproc.Process) error{
		"kill":       func(_ *agentproc.Agent, p *agentproc.Process) error { p.Kill(); _ = p.Wait(); return nil },
		"kill all":   func(a *agentproc.Agent, _ *agentproc.Process) error { return a.KillAll(t.Context()) },
		"close":      func(a *agentproc.Agent, _ *agentproc.Process) error { return a.Close() },
		"main dies":  func(_ *agentproc.Agent, p *agentproc.Process) error { return p.Wait() },
		"terminated": func(_ *agentproc.Agent, p *agentproc.Process) error { p.Terminate(); _ = p.Wait(); return nil },
	}
	for end, do := range ends {
		for _, kind := range append(kinds, "relay") {
			t.Run(end+"/"+kind, func(t *testing.T) {
				a := agenttest.Start(t)
				program, n := "stay", 2
				switch end {
				case "main dies":
					program, n = "leave", 1
				case "terminated":
					program = "yield"
				}
				args := []string{childMark, program, kind}
				if kind == "relay" { // prints nothing itself
					args = append(args, "plain")
				}
				p := start(t, a, args...)
				all := pids(t, p, n)
				began := time.Now()
				if err := do(a, p); err != nil {
					t.Fatal(err)
				}
				if left := alive(all); len(left) > 0 {
					t.Fatalf("%d of %d processes are left", len(left), len(all))
				}
				if took := time.Since(began); took > prompt {
					t.Errorf("it took %v", took)
				}
			})
		}
	}
}

func start(t *testing.T, a *agentproc.Agent, args ...string) *agentproc.Process {
	t.Helper()
	p, err := a.Command(self, args...).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestKillAllEndsSeveralCommandsAndLeavesTheAgentUsable(t *testing.T) {
	a := agenttest.Start(t)
	var all []int
	var running []*agentproc.Process
	for range 3 {
		p := start(t, a, append([]string{childMark, "stay"}, kinds...)...)
		running = append(running, p)
		all = append(all, pids(t, p, 1+len(kinds))...)
	}
	if err := a.KillAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := alive(all); len(left) > 0 {
		t.Fatalf("%d of %d processes are left", len(left), len(all))
	}
	for _, p := range running {
		var exit *agentproc.ExitError
		if err := p.Wait(); !errors.As(err, &exit) || exit.Signal != unix.SIGKILL || exit.Code != -1 {
			t.Errorf("Wait: %v", err)
		}
	}
	if out, err := a.Command("echo", "on").Output(t.Context()); err != nil || string(out) != "on\n" {
		t.Errorf("after KillAll: %q, %v", out, err)
	}
}

func TestBackgroundProcessesOutliveOtherCommands(t *testing.T) {
	a := agenttest.Start(t)
	p := start(t, a, childMark, "stay", "orphan", "daemon")
	all := pids(t, p, 3)
	var unknown []int // daemons that could be either command's
	for range 3 {
		out, err := a.Command("sh", "-c", "exec 2>&-; sleep 1000 >&- & echo $!; setsid sleep 1000 >&- & echo $!").Output(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var inSession, daemon int
		if _, err := fmt.Sscan(string(out), &inSession, &daemon); err != nil {
			t.Fatal(err)
		}
		if len(alive([]int{inSession})) > 0 {
			t.Error("a background process outlives its command")
		}
		unknown = append(unknown, daemon)
		if _, err := a.ReadFile(t.Context(), "/etc/passwd", 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	if left := alive(all); len(left) != len(all) {
		t.Errorf("%d of %d processes are left after other commands", len(left), len(all))
	}
	p.Kill()
	_ = p.Wait()
	all = append(all, unknown...)
	if left := alive(all); len(left) > 0 {
		t.Errorf("%d of %d processes are left", len(left), len(all))
	}
}

func TestTheTreeGoesWithTheWorker(t *testing.T) {
	worker := exec.CommandContext(t.Context(), self, childMark, "worker")
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	var all []int
	lines := bufio.NewScanner(out)
	for len(all) < 5 && lines.Scan() {
		if pid, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "pid ")); err == nil {
			all = append(all, pid)
		}
	}
	if len(all) < 5 || len(alive(all)) != 5 {
		t.Fatalf("the worker's tree is not up: %v", all)
	}
	if err := worker.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = worker.Wait()
	eventually(t, prompt, "the tree is gone", func() bool { return len(alive(all)) == 0 })
}

func TestRunKillsTheTreeWhenItsContextEnds(t *testing.T) {
	a := agenttest.Start(t)
	cause := errors.New("enough of it")
	ctx, cancel := context.WithCancelCause(t.Context())
	out := &lineSignal{seen: make(chan struct{})}
	cmd := a.Command(self, childMark, "stay", "daemon")
	cmd.Stdout = out
	go func() {
		<-out.seen
		cancel(cause)
	}()
	if err := cmd.Run(ctx); !errors.Is(err, cause) {
		t.Fatalf("Run: %v", err)
	}
	if left := alive(out.pids()); len(left) > 0 || len(out.pids()) != 2 {
		t.Errorf("%d of %d processes are left", len(left), len(out.pids()))
	}
}

// lineSignal is a Stdout that tells when two lines have come.
type lineSignal struct {
	text strings.Builder
	seen chan struct{}
}

func (l *lineSignal) Write(p []byte) (int, error) {
	before := strings.Count(l.text.String(), "\n")
	n, err := l.text.Write(p)
	if before < 2 && strings.Count(l.text.String(), "\n") >= 2 {
		close(l.seen)
	}
	return n, err
}

func (l *lineSignal) pids() []int {
	var out []int
	for line := range strings.Lines(l.text.String()) {
		if pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "pid "))); err == nil {
			out = append(out, pid)
		}
	}
	return out
}
