//go:build swarm

package swarm_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
)

// TestLeftoversHoldNoSecret: what an ended task leaves (its container, its settings, its logs, its volumes) and what describes the
// fleet shows none of the secrets that went through it.
func TestLeftoversHoldNoSecret(t *testing.T) {
	fleet.model.Answer(func(r modeltest.Request) modeltest.Turn {
		if len(r.Results()) > 0 {
			return modeltest.Turn{Text: "Done."}
		}
		return modeltest.Turn{Calls: []modeltest.Call{modeltest.Bash("echo LEFTOVER > proof.txt; env")}}
	})
	repository(t, "left/over")
	scaled(t, 1)
	j := start(t, "", "Write a proof", "--provider", "claude-code", "--repo", fleet.git.CloneURL("left/over"))
	id := container(t, j)
	j.completed()
	eventually(t, "the task is over", time.Minute, func() bool { return state(t, id) == "exited" })

	clean(t, "docker inspect", []byte(docker(t, "inspect", id)))
	clean(t, "docker service inspect", []byte(docker(t, "service", "inspect", workers, stack+"_front", stack+"_minio")))
	clean(t, "docker logs", []byte(docker(t, "logs", id)))
	if changes := docker(t, "diff", id); changedFiles(changes) != "" {
		t.Errorf("files were written into the container itself:\n%s", changes)
	}
	for _, folder := range []string{"/workspace", "/run", "/tmp", "/root", "/home", "/var", "/etc"} {
		out, err := exec.CommandContext(t.Context(), "docker", "cp", id+":"+folder, "-").Output()
		if err != nil {
			t.Errorf("docker cp %s: %v", folder, err)
		}
		clean(t, "docker cp "+folder, out)
	}
	for _, volume := range strings.Fields(docker(t, "volume", "ls", "-q", "--filter", "name=aicw-")) {
		files, err := os.ReadDir(docker(t, "volume", "inspect", "--format", "{{.Mountpoint}}", volume))
		if err != nil {
			t.Error(err)
		}
		if len(files) > 0 && !strings.Contains(docker(t, "ps", "-q", "--filter", "volume="+volume), "\n") && docker(t, "ps", "-q", "--filter", "volume="+volume) == "" {
			t.Errorf("the volume %s of an ended task holds %v", volume, files)
		}
	}
}

// changedFiles are the lines of docker diff that are no mount points made for the container.
func changedFiles(diff string) string {
	var left []string
	for line := range strings.Lines(diff) {
		path := strings.TrimSpace(line[1:])
		if line[0] == 'C' || strings.HasPrefix(path, "/run") || path == "/usr/sbin/docker-init" {
			continue
		}
		left = append(left, line)
	}
	return strings.Join(left, "")
}

func clean(t *testing.T, where string, text []byte) {
	t.Helper()
	if len(text) == 0 {
		t.Errorf("%s shows nothing at all", where)
	}
	for _, secret := range append(canaries, "LEFTOVER") {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s holds %s", where, secret)
		}
	}
}

// TestPrune: the volumes of ended tasks can be removed, and those of running ones stay.
func TestPrune(t *testing.T) {
	scaled(t, 1)
	j := start(t, "", "true")
	ended := container(t, j)
	j.completed()
	eventually(t, "another worker runs", time.Minute, func() bool {
		running := containers(t, workers)
		return len(running) == 1 && !strings.HasPrefix(ended, running[0])
	})
	docker(t, "container", "prune", "--force", "--filter", "label=com.docker.swarm.service.name="+workers)
	if out, err := exec.CommandContext(t.Context(), "../../scripts/prune.sh").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left := strings.Fields(docker(t, "volume", "ls", "-q", "--filter", "name=aicw-")); len(left) != 2 {
		t.Errorf("one worker runs, and there are the volumes %v", left)
	}
	start(t, "", "true").completed()
}

// TestWorkersKeyIsRestricted: with the workers' key to MinIO one can use the sessions' bucket and do nothing else.
func TestWorkersKeyIsRestricted(t *testing.T) {
	script := `export MC_CONFIG_DIR=/tmp/mc-test; trap 'rm -r $MC_CONFIG_DIR' EXIT
		mc alias set w http://127.0.0.1:9000 worker-test "$(cat /run/secrets/minio_secret_key)"
		date >/tmp/probe; mc cp /tmp/probe w/sessions/probe && mc rm w/sessions/probe && echo ALLOWED bucket
		mc mb w/other && echo ALLOWED another bucket
		mc admin user list w && echo ALLOWED users
		mc admin policy list w && echo ALLOWED policies
		mc anonymous set public w/sessions && echo ALLOWED opening the bucket; true`
	out := docker(t, "exec", containers(t, stack+"_minio")[0], "sh", "-c", script)
	if strings.Count(out, "ALLOWED") != 1 || !strings.Contains(out, "ALLOWED bucket") {
		t.Errorf("the workers' key:\n%s", out)
	}
}
