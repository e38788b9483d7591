package main

import (
	"crypto/rand"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// ownMinIO is a worker's environment on a server that the test may stop.
func ownMinIO(t testing.TB) (*storagetest.Server, map[string]string) {
	t.Helper()
	server := storagetest.StartMinIO(t)
	base := with(env(t), "MINIO_ENDPOINT", server.Endpoint, "MINIO_ACCESS_KEY", server.AccessKey, "MINIO_SECRET_KEY", server.SecretKey,
		"MINIO_BUCKET", "test-"+strings.ToLower(rand.Text()))
	delete(base, "STORAGE_DIR")
	return server, base
}

func TestStorageAwayAtTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name, saveTimeout string
		back              bool
	}{
		{"and back in time", "30s", true},
		{"for too long", "3s", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, repoURL := startGit(t)
			server, base := ownMinIO(t)
			p := startWorker(t, with(base, "SAVE_TIMEOUT", tt.saveTimeout, "LEASE_TTL", "20s"))
			s := p.post(script("echo working; sleep 1; echo done > done.txt", "github", github(repoURL), "websiteSessionId", "away"))
			s.until(says("working"))
			server.Stop(t)
			if tt.back {
				s.until(ofType("commit_progress"))
				server.Start(t)
				s.completed()
			} else if last := s.failed("storage_error"); last["pushed"] != true {
				t.Errorf("error: %v", last)
			}
			if heads := git(t, host.Dir("acme/site"), "for-each-ref", "refs/heads/aicw"); !strings.Contains(heads, "aicw/") {
				t.Errorf("nothing was pushed: %s", heads)
			}
			if code := p.exited(); code != 0 {
				t.Errorf("exit status %d", code)
			}
		})
	}
}

// TestFrozenWorkerIsReplaced freezes a worker past its lease, lets another take the session over, and thaws it.
func TestFrozenWorkerIsReplaced(t *testing.T) {
	forEachStore(t, func(t *testing.T, base map[string]string) {
		host, repoURL := startGit(t)
		frozen := startWorker(t, base)
		s := frozen.post(script("echo working; sleep 6; echo late > late.txt", "github", github(repoURL), "websiteSessionId", "frozen"))
		s.until(says("working"))
		if err := frozen.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4500 * time.Millisecond) // LEASE_TTL and a half, a second, and the time of a renewal
		successor := startWorker(t, with(base, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"]))
		next := successor.post(script("echo next > next.txt", "github", github(repoURL), "websiteSessionId", "frozen"))
		done := next.completed()
		if err := frozen.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if code := frozen.exited(); code != 0 {
			t.Errorf("exit status %d", code)
		}
		branch := done["branch"].(string)
		if files := git(t, host.Dir("acme/site"), "ls-tree", "--name-only", branch); strings.Contains(files, "late.txt") || !strings.Contains(files, "next.txt") {
			t.Errorf("the branch holds %s", files)
		}
		if heads := strings.Fields(git(t, host.Dir("acme/site"), "for-each-ref", "--format=%(refname)", "refs/heads/aicw")); len(heads) != 1 {
			t.Errorf("branches: %v", heads)
		}
	})
}
