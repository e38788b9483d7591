package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
)

// forEachStore runs a test on both stores; env is the part of a worker's environment that names the store.
func forEachStore(t *testing.T, test func(t *testing.T, base map[string]string)) {
	t.Run("directory", func(t *testing.T) { test(t, env(t)) })
	t.Run("minio", func(t *testing.T) { test(t, minioEnv(t)) })
}

func TestWorkerKilled(t *testing.T) {
	forEachStore(t, func(t *testing.T, base map[string]string) {
		_, repoURL := startGit(t)
		doomed := startWorker(t, base)
		s := doomed.post(script("echo before; echo kept > kept.txt; sleep 60", "github", github(repoURL), "websiteSessionId", "crash"))
		s.until(says("before"))
		told := len(s.events)
		time.Sleep(2200 * time.Millisecond) // what is two seconds old is stored
		doomed.kill()

		witness := startWorker(t, with(base, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"]))
		reader := witness.follow("crash", "")
		lost := reader.failed("worker_lost")
		if len(reader.events) < told+1 {
			t.Errorf("stored events: %d, seen before the crash: %d\n%s", len(reader.events)-1, told, reader)
		}
		if !strings.HasSuffix(lost["id"].(string), "-lost") {
			t.Errorf("worker_lost has the ID %v", lost["id"])
		}

		s = witness.post(script("echo again > again.txt", "github", github(repoURL), "websiteSessionId", "crash"))
		done := s.completed()
		if s.events[0]["resuming"] != true || done["pushed"] != true {
			t.Errorf("the resume:\n%s", s)
		}
		after := startWorker(t, base).follow("crash", "")
		after.completed()
		if got := strings.Count(after.String(), `"worker_lost"`); got != 1 {
			t.Errorf("worker_lost is told %d times:\n%s", got, after)
		}
	})
}

// TestKilledAroundThePush kills a worker whose work is saved, before its commit is on the host, and before the worker knows
// that it is. The session's next job has nothing of its own to add.
func TestKilledAroundThePush(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, request string
		fault         githost.Fault
		pushed        bool // by the killed worker
	}{
		{"saved and not pushed", "service=git-receive-pack", githost.Fault{Hang: true}, false},
		{"pushed and not told", "/git-receive-pack", githost.Fault{SlowBy: time.Hour}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, repoURL := startGit(t)
			base := minioEnv(t)
			d := startDoomed(t, base, script("echo work > work.txt", "github", github(repoURL), "websiteSessionId", "around"))
			host.Fail(tt.request, tt.fault)
			d.await(moment{phase: "push", after: 300 * time.Millisecond})
			heads := func() string { return git(t, host.Dir("acme/site"), "for-each-ref", "refs/heads/aicw") }
			waitFor(t, "the push is where it should be", func() bool { return (heads() != "") == tt.pushed })
			d.kill()
			host.Heal()

			before := heads()
			s := postWhenFree(startWorker(t, base), script("cat work.txt", "websiteSessionId", "around", "github", github(repoURL)))
			s.until(says("work"))
			done := s.completed()
			if tt.pushed != (done["pushed"] == nil) || tt.pushed && heads() != before {
				t.Errorf("the next job ended with %v; branches before:\n%safter:\n%s", done, before, heads())
			}
			if got := git(t, host.Dir("acme/site"), "show", done["branch"].(string)+":work.txt"); got != "work\n" || strings.Count(heads(), "\n") != 1 {
				t.Errorf("work.txt is %q; branches:\n%s", got, heads())
			}
		})
	}
}

func TestKilledWorkerLeavesNoProcess(t *testing.T) {
	base := env(t)
	p := startWorker(t, base)
	s := p.post(script("(setsid sleep 4242.17 &) ; echo started; sleep 4242.17"))
	s.until(says("started"))
	p.kill()
	waitFor(t, "the agent's tree is gone", func() bool { return countProcesses(t, "4242.17") == 0 })
}

func TestTwoResumesAtOnce(t *testing.T) {
	forEachStore(t, func(t *testing.T, base map[string]string) {
		startWorker(t, base).post(script("true", "websiteSessionId", "both")).completed()
		results := make(chan int, 2)
		for range 2 {
			p := startWorker(t, with(base, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"]))
			go func() {
				status, s, _ := p.tryPost(script("sleep 1", "websiteSessionId", "both"))
				if status == http.StatusOK {
					s.completed()
				}
				results <- status
			}()
		}
		if got := <-results + <-results; got != http.StatusOK+http.StatusConflict {
			t.Errorf("the two statuses add up to %d, want 200 + 409", got)
		}
	})
}

func TestAbort(t *testing.T) {
	_, repoURL := startGit(t)
	base := env(t)
	for _, where := range []string{"here", "elsewhere"} {
		t.Run(where, func(t *testing.T) {
			p := startWorker(t, with(base, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"]))
			other := p
			if where == "elsewhere" {
				other = startWorker(t, base)
			}
			s := p.post(script("echo part > part.txt; echo working; sleep 60", "github", github(repoURL), "websiteSessionId", "abort-"+where))
			s.until(says("working"))
			res, err := http.Post(other.URL+"/abort", "application/json", strings.NewReader(`{"sessionId":"abort-`+where+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if want := map[string]int{"here": 200, "elsewhere": 202}[where]; res.StatusCode != want {
				t.Errorf("status %d, want %d", res.StatusCode, want)
			}
			if last := s.failed("aborted"); last["pushed"] != true {
				t.Errorf("error: %v", last)
			}
			if code := p.exited(); code != 0 {
				t.Errorf("exit status %d", code)
			}
		})
	}
}

func TestJobTimeout(t *testing.T) {
	_, repoURL := startGit(t)
	p := startWorker(t, with(env(t), "JOB_TIMEOUT", "2s"))
	s := p.post(script("echo part > part.txt; trap '' TERM; sleep 60 & wait; sleep 60", "github", github(repoURL)))
	if last := s.failed("timeout"); last["pushed"] != true {
		t.Errorf("error: %v", last)
	}
}

func TestSIGTERM(t *testing.T) {
	_, repoURL := startGit(t)
	t.Run("idle", func(t *testing.T) {
		p := startWorker(t, env(t))
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if code := p.exited(); code != 0 {
			t.Errorf("exit status %d", code)
		}
	})
	t.Run("the grace allows the end", func(t *testing.T) {
		p := startWorker(t, env(t))
		s := p.post(script("echo working; sleep 2; echo x > x", "github", github(repoURL)))
		s.until(says("working"))
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		s.completed()
		if code := p.exited(); code != 0 {
			t.Errorf("exit status %d", code)
		}
	})
	t.Run("the grace is too short", func(t *testing.T) {
		p := startWorker(t, with(env(t), "STOP_GRACE", "4s"))
		s := p.post(script("echo x > x; echo working; sleep 60", "github", github(repoURL)))
		s.until(says("working"))
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if last := s.failed("shutting_down"); last["pushed"] != true {
			t.Errorf("error: %v", last)
		}
		if code := p.exited(); code != 0 {
			t.Errorf("exit status %d", code)
		}
	})
	t.Run("twice: now, whatever the grace", func(t *testing.T) {
		p := startWorker(t, with(env(t), "STOP_GRACE", "1h"))
		s := p.post(script("echo x > x; echo working; sleep 300", "github", github(repoURL)))
		s.until(says("working"))
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		waitFor(t, "the first signal is obeyed", func() bool { return p.status() == http.StatusServiceUnavailable })
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if last := s.failed("shutting_down"); last["pushed"] != true {
			t.Errorf("error: %v", last)
		}
		if code := p.exited(); code != 0 {
			t.Errorf("exit status %d", code)
		}
	})
}

// status is the code of GET /status, 0 without an answer.
func (p *proc) status() int {
	resp, err := http.Get(p.URL + "/status")
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// A worker younger than MIN_UPTIME waits after its job, unless it is told to go.
func TestMinUptime(t *testing.T) {
	t.Run("after a job", func(t *testing.T) {
		begun := time.Now()
		p := startWorker(t, with(env(t), "MIN_UPTIME", "3s"))
		p.post(script("true")).completed()
		if code := p.exited(); code != 0 {
			t.Errorf("exit status %d", code)
		}
		if lived := time.Since(begun); lived < 3*time.Second {
			t.Errorf("the worker lived for %s", lived)
		}
	})
	t.Run("told to go", func(t *testing.T) {
		p := startWorker(t, with(env(t), "MIN_UPTIME", "1h"))
		p.post(script("true")).completed()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if code := p.exited(); code != 0 {
			t.Errorf("exit status %d", code)
		}
	})
}
