package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
)

// TestRepositoryBeyondTheLimits asks for what is too large and for what never comes, each in a job of its own.
func TestRepositoryBeyondTheLimits(t *testing.T) {
	host, repoURL := startGit(t)
	tests := map[string]struct {
		variable, value string
		fault           githost.Fault
		words           string
	}{
		"too large": {"GIT_MAX_BYTES", "100", githost.Fault{}, "more than 100 bytes to transfer"},
		"too slow":  {"GIT_TIMEOUT", "1s", githost.Fault{Hang: true}, "takes longer than 1s"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			host.Heal()
			if tt.fault.Hang {
				host.Fail("/git-upload-pack", tt.fault)
			}
			p := startWorker(t, with(env(t), tt.variable, tt.value))
			failed := p.post(script("true", "github", github(repoURL))).failed("clone_failed")
			if text, _ := failed["error"].(string); !strings.Contains(text, tt.words) {
				t.Errorf("error: %v", failed)
			}
			if code := p.exited(); code != 0 {
				t.Errorf("exit status %d", code)
			}
		})
	}
}

// TestKilledWorkerStopsFetching kills a worker with SIGKILL while a process of it waits for a git host.
func TestKilledWorkerStopsFetching(t *testing.T) {
	host, repoURL := startGit(t)
	host.Fail("/git-upload-pack", githost.Fault{Hang: true})
	p := startWorker(t, env(t))
	p.post(script("true", "github", github(repoURL)))
	var fetcher string
	waitFor(t, "a process fetches", func() bool {
		fetcher = childWith(t, p.cmd.Process.Pid, "git-fetch")
		return fetcher != ""
	})
	p.kill()
	waitFor(t, "it is gone", func() bool {
		stat, err := os.ReadFile("/proc/" + fetcher + "/stat")
		return errors.Is(err, fs.ErrNotExist) || strings.Contains(string(stat), ") Z ")
	})
}

// childWith finds the child of a process whose command line holds the text; empty if there is none.
func childWith(t *testing.T, parent int, text string) (pid string) {
	t.Helper()
	children, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range children {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // one that has ended meanwhile is none
		status, _ := os.ReadFile(filepath.Join(dir, "status"))
		if strings.Contains(string(line), text) && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", parent)) {
			return filepath.Base(dir)
		}
	}
	return ""
}
