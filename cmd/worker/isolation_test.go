package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/fsuid"
)

// requireTwoUIDs makes sure that the test proves something: the worker is root, but without the capabilities that let
// root into other people's files and processes.
func requireTwoUIDs(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must run as root, so that the agent has a uid of its own")
		}
		t.Skip("needs root: the agent has no uid of its own")
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if want := "CapEff:\t00000000000000e0"; !strings.Contains(string(status), want) {
		t.Fatalf("run under scripts/as-worker: the capabilities are not SETUID, SETGID and KILL alone\n%s", status)
	}
}

// TestAgentCannotReachTheWorker lets the agent try, with the control that the same attempt works on the agent's own things.
func TestAgentCannotReachTheWorker(t *testing.T) {
	requireTwoUIDs(t)
	base := env(t)
	p := startWorker(t, base)
	pid := p.cmd.Process.Pid
	for _, path := range []string{base["STATE_DIR"], base["STORAGE_DIR"]} {
		allowSearch(t, filepath.Dir(path))
	}
	attempts := []struct{ name, attempt, control string }{
		{"environ", fmt.Sprintf("cat /proc/%d/environ", pid), "cat /proc/self/environ"},
		{"memory", fmt.Sprintf("head -c 1 /proc/%d/mem; dd if=/proc/%d/mem bs=1 count=1 skip=4194304", pid, pid), "cat /proc/self/maps"},
		{"descriptors", fmt.Sprintf("ls /proc/%d/fd/", pid), "ls /proc/self/fd/"},
		{"root directory", fmt.Sprintf("ls /proc/%d/root/", pid), "ls /proc/self/root/"},
		{"state directory", "ls " + base["STATE_DIR"], "ls ."},
		{"store", "find " + base["STORAGE_DIR"] + " -name '.session-metadata.json' | grep .", "find /etc/passwd"},
		{"kill", fmt.Sprintf("kill -9 %d", pid), "sleep 60 & kill -9 $!"},
		{"stop", fmt.Sprintf("kill -STOP %d", pid), "sleep 60 & kill -STOP $!; kill -9 $!"},
		{"kill the supervisor", "kill -9 $(awk '/^PPid/{print $2}' /proc/$PPID/status) $PPID", "true"},
	}
	var text strings.Builder
	for i, a := range attempts {
		fmt.Fprintf(&text, "if { %s; } >/dev/null 2>&1; then echo attempt %d done; else echo attempt %d refused; fi\n", a.attempt, i, i)
		fmt.Fprintf(&text, "if { %s; } >/dev/null 2>&1; then echo control %d done; else echo control %d refused; fi\n", a.control, i, i)
	}
	text.WriteString("id -u; id -G; grep CapEff /proc/self/status\n")
	s := p.post(script(text.String()))
	s.completed()
	for i, a := range attempts {
		if strings.Contains(s.String(), fmt.Sprintf("attempt %d refused", i)) == false {
			t.Errorf("%s: the agent got through: %s", a.name, a.attempt)
		}
		if strings.Contains(s.String(), fmt.Sprintf("control %d done", i)) == false {
			t.Errorf("%s: the control fails, so the attempt proves nothing: %s", a.name, a.control)
		}
	}
	if !strings.Contains(s.String(), "10001") || !strings.Contains(s.String(), "0000000000000000") {
		t.Errorf("the agent's identity:\n%s", s)
	}
}

// allowSearch opens a folder of the test's own for searching, so that what is below it stands for itself.
func allowSearch(t *testing.T, dir string) {
	t.Helper()
	for ; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o005 == 0 {
			if err := os.Chmod(dir, info.Mode().Perm()|0o055); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestNothingOfTheJobIsLeft looks at the disk after a worker's end.
func TestNothingOfTheJobIsLeft(t *testing.T) {
	_, repoURL := startGit(t)
	base := env(t)
	p := startWorker(t, base)
	p.post(script("echo x > x; (setsid sleep 4444.17 &)", "github", github(repoURL))).completed()
	p.exited()
	var left []os.DirEntry
	owner := os.Geteuid()
	if owner == 0 {
		owner = agenttest.UID
	}
	errs := []error{
		fsuid.Do(owner, func() (err error) { left, err = os.ReadDir(base["WORKSPACE_DIR"]); return err }),
	}
	state, err := os.ReadDir(base["STATE_DIR"])
	if err := errors.Join(append(errs, err)...); err != nil || len(left)+len(state) > 0 {
		t.Errorf("left: %v %v %v", left, state, err)
	}
	if n := countProcesses(t, "4444.17"); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}
