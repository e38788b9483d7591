package agentproc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
)

func ownShell(script string) agentproc.Own {
	return agentproc.Own{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=" + agentproc.DefaultPath}}
}

func TestOwnHelper(t *testing.T) {
	var out, said bytes.Buffer
	cmd := agentproc.Own{Args: []string{"echo"}, Stdin: strings.NewReader("hello"), Stdout: &out}
	if err := cmd.Run(t.Context()); err != nil || out.String() != "hello" {
		t.Errorf("%q, %v", out.String(), err)
	}
	var exit *agentproc.ExitError
	err := agentproc.Own{Args: []string{"echo", "no such luck"}, Stderr: &said}.Run(t.Context())
	if !errors.As(err, &exit) || exit.Code != 1 || exit.Stderr != said.String() || !strings.Contains(err.Error(), "echo: exit status 1: no such luck") {
		t.Errorf("error: %v", err)
	}
}

func TestOwnSeesNothingOfThisProcess(t *testing.T) {
	t.Setenv("CANARY", "own-7f3a")
	var out bytes.Buffer
	cmd := ownShell("pwd; id -u; env")
	cmd.Stdout = &out
	if err := cmd.Run(t.Context()); err != nil || !strings.HasPrefix(out.String(), fmt.Sprintf("/\n%d\n", os.Getuid())) || strings.Contains(out.String(), "own-7f3a") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestOwnDiesWithItsGroup(t *testing.T) {
	stop := errors.New("stopped by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	started := &trigger{cancel: func() { cancel(stop) }}
	cmd := ownShell("sleep 1000 & echo $!; exec sleep 1000")
	cmd.Stdout = started
	if err := cmd.Run(ctx); !errors.Is(err, stop) {
		t.Errorf("error: %v", err)
	}
	pid := strings.TrimSpace(string(started.said))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { // init reaps it
		if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s is left", pid)
		}
	}
}

// trigger acts at the first output.
type trigger struct {
	said   []byte
	cancel func()
}

func (w *trigger) Write(p []byte) (int, error) {
	defer w.cancel()
	w.said = append(w.said, p...)
	return len(p), nil
}

// TestMemoryIsLimited lets dd allocate a block, within a limit and beyond it, as this process's user and as the agent's.
func TestMemoryIsLimited(t *testing.T) {
	agent := agenttest.Start(t)
	const block = "read go; dd if=/dev/zero of=/dev/null bs=100M count=1 2>&1"
	for limit, fits := range map[int64]bool{300 << 20: true, 50 << 20: false} {
		own := ownShell(block)
		own.Memory, own.Stdin = limit, strings.NewReader("go\n")
		if err := own.Run(t.Context()); (err == nil) != fits {
			t.Errorf("own, limit %d: %v", limit, err)
		}
		theirs := agent.Command("sh", "-c", block)
		theirs.Memory, theirs.Stdin = limit, strings.NewReader("go\n")
		if err := theirs.Run(t.Context()); (err == nil) != fits {
			t.Errorf("the agent's, limit %d: %v", limit, err)
		}
	}
}

// TestLimitedCommandIsTheSame passes arguments that a shell would understand in its own way.
func TestLimitedCommandIsTheSame(t *testing.T) {
	cmd := agenttest.Start(t).Command("printf", `%s\n`, "$HOME", "a b", `'"`, "-x", "")
	cmd.Memory, cmd.Env = 1<<30, []string{"HOME=/x"}
	if out, err := cmd.Output(t.Context()); err != nil || string(out) != "$HOME\na b\n'\"\n-x\n\n" {
		t.Errorf("%q, %v", out, err)
	}
	if err := agenttest.Start(t).Command("no-such-program").Run(t.Context()); err == nil {
		t.Error("a program that does not exist ran")
	}
}
