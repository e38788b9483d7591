package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
)

// selfTested runs this binary as `worker ARGS...` with an assistant of that text beside git, and returns its exit status.
func selfTested(t *testing.T, claude string, env []string, args ...string) (status int, output string) {
	t.Helper()
	cmd := selfTest(t, claude, env, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func selfTest(t *testing.T, claude string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := os.MkdirTemp("/tmp", "aicw-bin-") //nolint:usetesting // t.TempDir is closed to the agent's uid
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(bin) })
	if err := errors.Join(os.Chmod(bin, 0o755), os.WriteFile(filepath.Join(bin, "claude"), []byte(claude), 0o755)); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append([]string{
		"AICW_TEST_MAIN=worker", "HOST=127.0.0.1", "PORT=0", "PATH=" + bin + ":" + os.Getenv("PATH"),
		"STORAGE_DIR=" + t.TempDir(), "WORKSPACE_DIR=" + agenttest.Dir(t), "STATE_DIR=" + t.TempDir(),
	}, env...)
	return cmd
}

func TestSelfTestOfAGoodImage(t *testing.T) {
	status, out := selfTested(t, "#!/bin/sh\necho 9.9.9 good\n", nil, "selftest")
	if status != 0 || !strings.Contains(out, "9.9.9 good") || !strings.Contains(out, "git version") {
		t.Errorf("status %d, want 0 and the versions of git and claude:\n%s", status, out)
	}
}

// An image that cannot run a job must not listen: Swarm would take the update for a good one.
func TestSelfTestOfABrokenImage(t *testing.T) {
	for _, args := range [][]string{{"selftest"}, {"--selftest"}} {
		status, out := selfTested(t, "#!/nonexistent/interpreter\n", nil, args...)
		if status != 1 || !strings.Contains(out, "start claude") || strings.Contains(out, "listening") {
			t.Errorf("%v: status %d, want 1 before it listens:\n%s", args, status, out)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	status, out := selfTested(t, "#!/bin/sh\n", []string{"WORKSPACE_DIR=" + file}, "selftest")
	if status != 1 || !strings.Contains(out, "WORKSPACE_DIR") {
		t.Errorf("status %d, want 1 and the name of the variable:\n%s", status, out)
	}
}

// A worker that is told to go before it listens has not failed: a task of Swarm's that is scaled in at that moment is no failed one.
func TestSelfTestCutShort(t *testing.T) {
	for arg, want := range map[string]int{"--selftest": 0, "selftest": 1} {
		cmd := selfTest(t, "#!/bin/sh\nexec sleep 600\n", nil, arg)
		logs := &logBuffer{watch: func(line []byte) {
			if bytes.Contains(line, []byte(`"program":"git"`)) {
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
		}}
		cmd.Stdout, cmd.Stderr = logs, logs
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s: status %d, want %d:\n%s", arg, got, want, logs)
		}
	}
}

func TestSelfTestThenServe(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := startCommand(t, map[string]string{"STORAGE_DIR": t.TempDir(), "WORKSPACE_DIR": agenttest.Dir(t)}, self, "--selftest")
	if !strings.Contains(p.logs.String(), `"program":"git"`) {
		t.Errorf("no self-test before it listened:\n%s", p.logs)
	}
}

func TestHelp(t *testing.T) {
	status, out := selfTested(t, "", nil, "--help")
	if status != 0 || !strings.HasPrefix(out, "usage: worker") || strings.Contains(out, "help requested") {
		t.Errorf("status %d:\n%s", status, out)
	}
}

func TestUnknownArguments(t *testing.T) {
	for _, args := range [][]string{{"serve"}, {"selftest", "twice"}} {
		err := run(context.Background(), nil, args, func(string) string { return "" }, os.Stdout, os.Stderr)
		if err == nil || !strings.Contains(err.Error(), "unknown arguments") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
