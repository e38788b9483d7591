package main

import (
	"errors"
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
