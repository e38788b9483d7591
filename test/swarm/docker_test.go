//go:build swarm

package swarm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// docker runs the command line and returns what it prints.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, within time.Duration, holds func() bool) {
	t.Helper()
	if !soon(within, holds) {
		out, _ := exec.Command("docker", "service", "ps", "--no-trunc", workers).CombinedOutput()
		t.Fatalf("not within %v: %s\n%s", within, what, out)
	}
}

// soon tells whether a condition holds within a while.
func soon(within time.Duration, holds func() bool) bool {
	for deadline := time.Now().Add(within); !holds(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// scale changes the number of workers, and waits until Swarm means to run that many, for two seconds on end. It asks again
// where that does not come: Swarm keeps a worker whose task ends while it is to be removed.
func scale(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("Swarm means to run %d workers", n), time.Minute, func() bool {
		docker(t, "service", "scale", "--detach", workers+"="+strconv.Itoa(n))
		steady := 0
		return soon(8*time.Second, func() bool {
			if steady++; len(wanted(t)) != n {
				steady = 0
			}
			return steady == 10
		})
	})
}

// scaled is scale, and waits until that many run.
func scaled(t *testing.T, n int) {
	t.Helper()
	scale(t, n)
	eventually(t, strconv.Itoa(n)+" workers run", 3*time.Minute, func() bool { return len(containers(t, workers)) == n })
}

// wanted are the tasks that Swarm means to run, also those that are to follow one that ends.
func wanted(t *testing.T) []string {
	t.Helper()
	return strings.Fields(docker(t, "service", "ps", "-q", "--filter", "desired-state=running", "--filter", "desired-state=ready", workers))
}

// containers are the IDs of a service's running containers.
func containers(t *testing.T, service string) []string {
	t.Helper()
	return strings.Fields(docker(t, "ps", "-q", "--filter", "label=com.docker.swarm.service.name="+service, "--filter", "status=running"))
}

// container finds the whole ID of the container in which a job runs: its hostname begins it.
func container(t *testing.T, j *job) string {
	t.Helper()
	return docker(t, "inspect", "--format", "{{.Id}}", j.container())
}

// state is that of a container, as Docker calls it.
func state(t *testing.T, id string) string {
	t.Helper()
	return docker(t, "inspect", "--format", "{{.State.Status}}", id)
}

// updateState is what became of a service's latest update; empty while none has begun.
func updateState(t *testing.T, service string) string {
	t.Helper()
	var specs []struct{ UpdateStatus struct{ State string } }
	if err := json.Unmarshal([]byte(docker(t, "service", "inspect", service)), &specs); err != nil {
		t.Fatal(err)
	}
	return specs[0].UpdateStatus.State
}

// redeploy runs the script of that name, and returns its exit status.
func redeploy(t *testing.T, args ...string) (status int, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../../redeploy.sh", append([]string{"--env", fleet.env}, args...)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// image makes an image from the workers' by a Dockerfile's further lines.
func image(t *testing.T, name, lines string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", "build", "-q", "-t", name, "-")
	cmd.Env = append(cmd.Environ(), "DOCKER_BUILDKIT=0")
	cmd.Stdin = strings.NewReader("FROM " + workerImage + "\n" + lines + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
}
