package main

import (
	"crypto/rand"
	"net/http"
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
			p := startWorker(t, with(base, "SAVE_TIMEOUT", tt.saveTimeout))
			s := p.post(script("echo working; sleep 1; echo work > done.txt", "github", github(repoURL), "websiteSessionId", "away"))
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
			if !tt.back {
				server.Start(t)
			}
			s = postWhenFree(startWorker(t, base), script("cat done.txt", "github", github(repoURL), "websiteSessionId", "away"))
			s.until(says("work"))
			if s.completed(); s.events[0]["resuming"] != true {
				t.Errorf("the resume:\n%s", s)
			}
		})
	}
}

// postWhenFree sends a request until the session is not another worker's any more.
func postWhenFree(p *proc, request map[string]any) (s *stream) {
	p.t.Helper()
	waitFor(p.t, "the session is free", func() bool {
		status, stream, body := p.tryPost(request)
		if s = stream; s == nil && status != http.StatusConflict {
			p.t.Fatalf("%d %s", status, body)
		}
		return s != nil
	})
	return s
}

// Before a job has begun, storage that is away costs nothing but an answer: the same worker takes it a moment later.
func TestStorageAwayAtTheStart(t *testing.T) {
	t.Parallel()
	_, repoURL := startGit(t)
	server, base := ownMinIO(t)
	startWorker(t, base).post(script("echo one > one.txt", "github", github(repoURL), "websiteSessionId", "away")).completed()
	p := startWorker(t, base)
	request := script("cat one.txt", "github", github(repoURL), "websiteSessionId", "away")
	server.Stop(t)
	status, _, body := p.tryPost(request)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, `"storage_error"`) {
		t.Errorf("without storage: %d %s", status, body)
	}
	if got := p.status(); got != http.StatusOK {
		t.Errorf("the worker is not idle after it: %d", got)
	}
	server.Start(t)
	s := p.post(request)
	s.until(says("one"))
	s.completed()
}

// TestStorageAwayForLongerThanTheLease lets another worker try for the session all the time. The lease looks expired when
// storage is back, but its holder lives and keeps it.
func TestStorageAwayForLongerThanTheLease(t *testing.T) {
	t.Parallel()
	_, repoURL := startGit(t)
	server, base := ownMinIO(t)
	base = with(base, "LEASE_TTL", "8s") // a quarter is what the holder has to be back, on a busy machine too
	job := script("echo work > work.txt; echo working; sleep 300", "github", github(repoURL), "websiteSessionId", "away")
	p, other := startWorker(t, base), startWorker(t, with(base, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"]))
	s := p.post(job)
	s.until(says("working"))
	server.Stop(t)
	back := time.AfterFunc(10*time.Second, func() { server.Start(t) }) // LEASE_TTL and a second, and one more
	defer back.Stop()
	refused := map[int]int{}
	for deadline := time.Now().Add(time.Minute); refused[http.StatusConflict] < 3 && time.Now().Before(deadline); {
		status, _, body := other.tryPost(job)
		if refused[status]++; status != http.StatusConflict && status != http.StatusServiceUnavailable {
			t.Fatalf("another worker got the session: %d %s", status, body)
		}
	}
	if refused[http.StatusConflict] == 0 || refused[http.StatusServiceUnavailable] == 0 {
		t.Errorf("answers to the other worker's tries: %v", refused)
	}
	res, err := http.Post(p.URL+"/abort", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if last := s.failed("aborted"); last["pushed"] != true {
		t.Errorf("the holder's job ended with %v", last)
	}
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
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
