//go:build swarm

package swarm_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
)

// The tests of this file, TestTurnaround and TestFortyJobs print the figures of docs/operations.md. They judge nothing that
// depends on the machine.

// TestImageSizes prints the size of each image, and of the workers' without each assistant.
func TestImageSizes(t *testing.T) {
	for _, name := range []string{workerImage, "ai-coding-worker-front:test", "ai-coding-worker-minio:test"} {
		t.Logf("%s: %d MB", name, megabytes(t, docker(t, "image", "inspect", "--format", "{{.Size}}", name)))
	}
	whole := megabytes(t, docker(t, "image", "inspect", "--format", "{{.Size}}", workerImage))
	rest := whole
	for _, assistant := range []string{"claude", "codex"} {
		size := megabytes(t, docker(t, "run", "--rm", "--entrypoint", "stat", workerImage, "--format", "%s", "/opt/assistants/bin/"+assistant))
		t.Logf("without %s: %d MB", assistant, whole-size)
		rest -= size
	}
	t.Logf("without both: %d MB", rest)
	if rest <= 0 || rest >= whole {
		t.Errorf("of %d MB the assistants leave %d", whole, rest)
	}
}

func megabytes(t *testing.T, bytes string) int {
	t.Helper()
	n, err := strconv.Atoi(bytes)
	if err != nil {
		t.Fatal(err)
	}
	return n / 1_000_000
}

// TestTimeToReady prints how long a worker takes from docker run to the first 200 of /ready.
func TestTimeToReady(t *testing.T) {
	var times []time.Duration
	for range 5 {
		times = append(times, timeToReady(t))
	}
	slices.Sort(times)
	t.Logf("from docker run to /ready: median %d ms, %v", times[len(times)/2].Milliseconds(), times)
}

func timeToReady(t *testing.T) time.Duration {
	t.Helper()
	begun := time.Now()
	id := docker(t, "run", "--detach", "--init", "--read-only", "--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "KILL",
		"--tmpfs", "/tmp", "--tmpfs", "/workspace:exec,uid=10001,gid=10001,mode=0700", "--env", "STORAGE_DIR=/tmp/sessions",
		"--publish", "127.0.0.1::5000", workerImage)
	defer docker(t, "rm", "--force", id)
	url := "http://" + docker(t, "port", id, "5000/tcp") + "/ready"
	for !answers(t, url) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("not ready:\n%s", docker(t, "logs", id))
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begun)
}

// answers tells whether a URL answers with 200.
func answers(t *testing.T, url string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// TestMemory prints what a task holds in memory while it is idle, and while each assistant waits for a tool.
func TestMemory(t *testing.T) {
	scaled(t, 1)
	eventually(t, "the worker is ready", time.Minute, func() bool { status, _ := get(t, "/ready"); return status == http.StatusOK })
	t.Logf("an idle task: %s", memory(t, containers(t, workers)[0]))
	const tool = "echo working; sleep 8"
	for provider, call := range map[string]modeltest.Call{"claude-code": modeltest.Bash(tool), "codex": modeltest.Exec(tool)} {
		fleet.model.Answer(func(r modeltest.Request) modeltest.Turn {
			if len(r.Results()) > 0 {
				return modeltest.Turn{Text: "Done."}
			}
			return modeltest.Turn{Calls: []modeltest.Call{call}}
		})
		t.Setenv("AICW_AUTH", modelKey)
		j := start(t, "", "Work for a while", "--provider", provider).until("sleep 8")
		t.Logf("a task with %s: %s", provider, memory(t, container(t, j)))
		j.completed()
	}
}

// memory is what Docker says that a container uses.
func memory(t *testing.T, id string) string {
	t.Helper()
	used, _, found := strings.Cut(docker(t, "stats", "--no-stream", "--format", "{{.MemUsage}}", id), " / ")
	if !found {
		t.Errorf("docker stats says %q", used)
	}
	return used
}
