//go:build swarm

package swarm_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// occupied starts n jobs that wait until the returned function lets them end, and waits until all run.
func occupied(t *testing.T, n int, repo string) (jobs []*job, release func()) {
	t.Helper()
	repository(t, repo)
	gate := "GATE-" + strings.ReplaceAll(repo, "/", "-")
	release = sync.OnceFunc(func() {
		if _, err := fleet.git.Git(repo, "branch", gate, "HEAD"); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release) // of a test that has failed: the next one needs the workers
	for i := range n {
		request := fmt.Sprintf("echo running; until git ls-remote %s 2>/dev/null | grep -q %s; do sleep 1; done; echo %d > proof.txt",
			fleet.git.CloneURL(repo), gate, i)
		jobs = append(jobs, start(t, "", request, "--repo", fleet.git.CloneURL(repo)))
	}
	for _, j := range jobs {
		j.until("running")
	}
	return jobs, release
}

// unharmed waits for the jobs' good ends, with their work on the branch and in the container in which they began.
func unharmed(t *testing.T, jobs []*job, repo string) {
	t.Helper()
	for i, j := range jobs {
		if got := committed(t, repo, j.completed(), "proof.txt"); got != fmt.Sprint(i) {
			t.Errorf("proof.txt of job %d: %q", i, got)
		}
		if n := strings.Count(j.String(), `"type":"connected"`); n != 1 {
			t.Errorf("job %d was connected %d times", i, n)
		}
	}
}

func TestScaleInUnderJobs(t *testing.T) {
	scaled(t, 4)
	jobs, release := occupied(t, 4, "change/scale")
	scale(t, 1)
	release()
	unharmed(t, jobs, "change/scale")
	eventually(t, "one worker is left", time.Minute, func() bool { return len(containers(t, workers)) == 1 })
}

func TestForcedUpdateUnderJobs(t *testing.T) {
	scaled(t, 3)
	jobs, release := occupied(t, 3, "change/force")
	docker(t, "service", "update", "--detach", "--force", workers)
	eventually(t, "the update is over although all workers are busy", 3*time.Minute, func() bool { return updateState(t, workers) == "completed" })
	release()
	unharmed(t, jobs, "change/force")
}

// TestRollingUpdate: running jobs are not touched, and quick jobs on workers just updated do not look like a broken image.
func TestRollingUpdate(t *testing.T) {
	image(t, "ai-coding-worker:test-next", "LABEL next=1")
	scaled(t, 4)
	jobs, release := occupied(t, 2, "change/update")
	stop, quick := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				quick <- n
				return
			default:
				start(t, "", "true").completed()
			}
		}
	}()
	status, out := redeploy(t, "--image", "ai-coding-worker:test-next")
	close(stop)
	t.Logf("%d quick jobs during the update", <-quick)
	if status != 0 || updateState(t, workers) != "completed" {
		t.Errorf("redeploy.sh: status %d\n%s", status, out)
	}
	release()
	unharmed(t, jobs, "change/update")
	if got := docker(t, "service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", workers); got != "ai-coding-worker:test-next" {
		t.Errorf("the fleet runs %s", got)
	}
}

// TestBrokenImages: an image whose worker cannot start, and one that could not run a job, roll back by themselves.
func TestBrokenImages(t *testing.T) {
	scaled(t, 3)
	jobs, release := occupied(t, 1, "change/broken")
	before := docker(t, "service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", workers)
	for name, lines := range map[string]string{
		"ai-coding-worker:test-dead":      `ENTRYPOINT ["/bin/false"]`,
		"ai-coding-worker:test-no-claude": `RUN printf '#!/nonexistent\n' >/opt/assistants/bin/claude`,
	} {
		image(t, name, lines)
		status, out := redeploy(t, "--image", name)
		if state := updateState(t, workers); status != 1 || state != "rollback_completed" {
			t.Errorf("%s: redeploy.sh's status %d, the update's state %s\n%s", name, status, state, out)
		}
		if got := docker(t, "service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", workers); got != before {
			t.Errorf("after %s the fleet runs %s, not %s", name, got, before)
		}
	}
	release()
	unharmed(t, jobs, "change/broken")
}

// deploy runs deploy-swarm.sh with the fleet's variables and further ones, and returns its exit status.
func deploy(t *testing.T, further ...string) (status int, output string) {
	t.Helper()
	env, err := os.ReadFile(fleet.env)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, append(env, strings.Join(further, "\n")+"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "../../deploy-swarm.sh", "--env", file)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// TestDeployUnderJobs: a changed variable comes to all workers, whoever is still busy, and no job is lost.
func TestDeployUnderJobs(t *testing.T) {
	scaled(t, 2)
	jobs, release := occupied(t, 2, "change/deploy")
	if status, out := deploy(t, "GIT_AUTHOR_NAME=Another"); status != 0 {
		t.Errorf("deploy-swarm.sh: status %d\n%s", status, out)
	}
	repository(t, "change/author")
	last := start(t, "", "date > date.txt", "--repo", fleet.git.CloneURL("change/author")).completed()
	if author, err := fleet.git.Git("change/author", "log", "-1", "--format=%an", fmt.Sprint(last["branch"])); err != nil || strings.TrimSpace(author) != "Another" {
		t.Errorf("the author is %q, %v", author, err)
	}
	release()
	unharmed(t, jobs, "change/deploy")
	if status, out := deploy(t); status != 0 {
		t.Errorf("deploy-swarm.sh, back: status %d\n%s", status, out)
	}
}

// TestDeployTakenBack: workers that do not start with what was changed are taken back, with the secrets that were in force, and
// the script says so.
func TestDeployTakenBack(t *testing.T) {
	image(t, "ai-coding-worker:test-dead", `ENTRYPOINT ["/bin/false"]`)
	scaled(t, 2)
	status, out := deploy(t, "WORKER_IMAGE=ai-coding-worker:test-dead", "API_KEYS=aicw_ANOTHERapiKEY0123456789")
	if status != 1 || !strings.Contains(out, "was not taken") {
		t.Errorf("deploy-swarm.sh: status %d\n%s", status, out)
	}
	for range 3 { // the third at the latest by a new task, and all by the key that was in force
		start(t, "", "true").completed()
	}
	if status, out := deploy(t); status != 0 {
		t.Errorf("deploy-swarm.sh, back: status %d\n%s", status, out)
	}
}

// TestDeployAgain: nothing changes where nothing has changed, the request that is printed works, and the other stack files are good.
func TestDeployAgain(t *testing.T) {
	scaled(t, 2)
	before := containers(t, workers)
	said, err := exec.CommandContext(t.Context(), "../../deploy-swarm.sh", "--env", fleet.env).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if after := containers(t, workers); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("workers were replaced: %v, then %v", before, after)
	}
	if status, out := redeploy(t, "--image", docker(t, "service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", workers)); status != 0 {
		t.Errorf("redeploy.sh with the image that runs: status %d\n%s", status, out)
	}
	_, request, _ := strings.Cut(string(said), "  curl ")
	request, _, _ = strings.Cut(request, "\n\n")
	request = strings.NewReplacer("ClaudeAgentSDK", "script", "Create a hello world function", "true").Replace("curl " + request)
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", request).CombinedOutput(); err != nil || !strings.Contains(string(out), `"type":"completed"`) {
		t.Errorf("the printed request: %v\n%s\n%s", err, request, out)
	}
	out, err := exec.CommandContext(t.Context(), "../../deploy-swarm.sh", "--env", fleet.env, "--dry-run", "--ingress").CombinedOutput()
	if err != nil {
		t.Errorf("--ingress: %v\n%s", err, out)
	}
	for _, secret := range canaries {
		if strings.Contains(string(out), secret) {
			t.Errorf("--dry-run prints a secret:\n%s", out)
		}
	}
}

// TestJobOfAClientThatLeft: a job whose client went away while it waited is not run.
func TestJobOfAClientThatLeft(t *testing.T) {
	scaled(t, 1)
	jobs, release := occupied(t, 1, "change/left")
	ctx, cancel := context.WithCancel(t.Context())
	body := `{"userRequest":"true","codingAssistantProvider":"script","websiteSessionId":"left-alone"}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, front+"/execute", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+apiKey)
	time.AfterFunc(2*time.Second, cancel)
	if res, err := http.DefaultClient.Do(req); err == nil {
		defer res.Body.Close()
		t.Fatalf("it did not wait: %s", res.Status)
	}
	next := start(t, "", "true")
	release()
	unharmed(t, jobs, "change/left")
	next.completed() // it came later
	if status, _ := get(t, "/sessions/left-alone"); status != http.StatusNotFound {
		t.Errorf("its session: %d", status)
	}
}
