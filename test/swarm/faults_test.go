//go:build swarm

package swarm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// patient is a script that says "running", waits as long as a fault needs, and writes a file.
func patient(seconds string) string {
	return "echo running; sleep " + seconds + "; echo kept > proof.txt"
}

// resumed is a further job of a session, which must find the session in order. It waits until a lease has run out.
func resumed(t *testing.T, session, repo, request string) map[string]any {
	t.Helper()
	const held = 3 // aicw's status
	var j *job
	eventually(t, "the session can be resumed", 2*time.Minute, func() bool {
		j = start(t, session, request, "--repo", fleet.git.CloneURL(repo))
		j.end()
		return j.status != held
	})
	last := j.completed()
	if got := committed(t, repo, last, "after.txt"); got != "after" {
		t.Errorf("after.txt: %q", got)
	}
	return last
}

// TestWorkerKilled: the client is told that the worker is lost, once its lease has run out, and the session goes on.
func TestWorkerKilled(t *testing.T) {
	scaled(t, 2)
	repository(t, "fault/killed")
	j := start(t, "", patient("600"), "--repo", fleet.git.CloneURL("fault/killed")).until("running")
	begun := time.Now()
	docker(t, "kill", "--signal", "KILL", j.container())
	j.failed("worker_lost")
	t.Logf("worker killed: the client knows after %.0f s (LEASE_TTL %v)", time.Since(begun).Seconds(), leaseTTL)
	resumed(t, j.session(), "fault/killed", "echo after > after.txt")
}

// TestWorkerPaused: while a worker stands still its session goes to another; awake again, it changes nothing.
func TestWorkerPaused(t *testing.T) {
	scaled(t, 2)
	repository(t, "fault/paused")
	j := start(t, "", patient("20"), "--repo", fleet.git.CloneURL("fault/paused")).until("running")
	paused := container(t, j)
	docker(t, "pause", paused)
	last := resumed(t, j.session(), "fault/paused", "echo after > after.txt")
	docker(t, "unpause", paused)
	eventually(t, "the worker that was paused is gone", 3*time.Minute, func() bool {
		return !strings.Contains(strings.Join(containers(t, workers), " "), paused[:12])
	})
	j.failed("worker_lost")
	if got := committed(t, "fault/paused", last, "after.txt"); got != "after" {
		t.Errorf("after the other woke up, after.txt: %q", got)
	}
	if files, _ := fleet.git.Git("fault/paused", "ls-tree", "-r", "--name-only", last["branch"].(string)); strings.Contains(files, "proof.txt") {
		t.Errorf("the worker that had lost its session pushed: %s", files)
	}
	resumed(t, j.session(), "fault/paused", "test -f after.txt && echo after > after.txt && date >> later.txt")
}

// TestCutOffFromMinIO: the work is pushed although it cannot be saved, and the client, which follows by way of another worker,
// hears of the loss.
func TestCutOffFromMinIO(t *testing.T) {
	scaled(t, 2)
	repository(t, "fault/cut")
	j := start(t, "", patient("5"), "--repo", fleet.git.CloneURL("fault/cut")).until("running")
	docker(t, "network", "disconnect", "--force", stack+"_storage", container(t, j))
	last := j.failed("storage_error")
	if last["pushed"] != true || committed(t, "fault/cut", last, "proof.txt") != "kept" {
		t.Errorf("the work was not pushed: %v", last)
	}
	eventually(t, "two workers that reach MinIO run", 3*time.Minute, func() bool { return len(containers(t, workers)) == 2 })
	resumed(t, j.session(), "fault/cut", "echo after > after.txt")
}

// TestMinIOKilled: the job goes on, waits for the store to come back, and nothing is lost.
func TestMinIOKilled(t *testing.T) {
	scaled(t, 2)
	repository(t, "fault/minio")
	j := start(t, "", patient("15"), "--repo", fleet.git.CloneURL("fault/minio")).until("running")
	before := containers(t, stack+"_minio")
	docker(t, append([]string{"kill", "--signal", "KILL"}, before...)...)
	if got := committed(t, "fault/minio", j.completed(), "proof.txt"); got != "kept" {
		t.Errorf("proof.txt: %q", got)
	}
	resumed(t, j.session(), "fault/minio", "test -f proof.txt && echo after > after.txt")
}

// TestStartWithoutMinIO: workers wait for the store instead of ending, and /ready says so.
func TestStartWithoutMinIO(t *testing.T) {
	scaled(t, 1)
	docker(t, "service", "scale", "--detach", stack+"_minio=0")
	defer eventually(t, "MinIO is back", 2*time.Minute, func() bool { status, _ := get(t, "/ready"); return status == 200 })
	defer docker(t, "service", "scale", "--detach", stack+"_minio=1")
	eventually(t, "MinIO is gone", time.Minute, func() bool { return len(containers(t, stack+"_minio")) == 0 })
	docker(t, append([]string{"kill"}, containers(t, workers)...)...)
	eventually(t, "the new worker says that storage is away", time.Minute, func() bool { status, _ := get(t, "/ready"); return status == 503 })
	eventually(t, "a worker runs", time.Minute, func() bool { return len(containers(t, workers)) == 1 })
	before := containers(t, workers)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if after := containers(t, workers); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Fatalf("without MinIO the worker did not stay: %v, then %v", before, after)
		}
	}
}

// TestFrontKilled: streams are cut, the client takes them up again, and the job never notices.
func TestFrontKilled(t *testing.T) {
	scaled(t, 2)
	repository(t, "fault/front")
	j := start(t, "", patient("10"), "--repo", fleet.git.CloneURL("fault/front")).until("running")
	docker(t, append([]string{"kill", "--signal", "KILL"}, containers(t, stack+"_front")...)...)
	if got := committed(t, "fault/front", j.completed(), "proof.txt"); got != "kept" {
		t.Errorf("proof.txt: %q", got)
	}
}

// TestFrontReplaced: a new front does not wait for the streams that go through the one before; they are taken up again.
func TestFrontReplaced(t *testing.T) {
	docker(t, "tag", "ai-coding-worker-front:test", "ai-coding-worker-front:test-next")
	scaled(t, 2)
	jobs, release := occupied(t, 1, "fault/replaced")
	replaced := make(chan string, 1)
	go func() {
		status, out := redeploy(t, "--service", "front", "--image", "ai-coding-worker-front:test-next")
		replaced <- fmt.Sprintf("status %d\n%s", status, out)
	}()
	select {
	case out := <-replaced:
		if !strings.HasPrefix(out, "status 0") {
			t.Errorf("redeploy.sh: %s", out)
		}
	case <-time.After(3 * time.Minute):
		t.Error("the front waits for the stream's end")
	}
	start(t, "", "true").completed()
	release()
	unharmed(t, jobs, "fault/replaced")
}
