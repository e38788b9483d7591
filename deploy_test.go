package root_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
)

var pinned = regexp.MustCompile(`(?m)^((?:claude|codex)_version)=(\S+)$`)

// The image holds the assistants that the tests run.
func TestTheImageHasTheTestedAssistants(t *testing.T) {
	versions := func(path string) map[string]string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, m := range pinned.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = m[2]
		}
		return found
	}
	image, tests := versions("deploy/assistants.sh"), versions("scripts/tools.sh")
	if diff := cmp.Diff(tests, image); diff != "" || len(tests) != 2 {
		t.Errorf("versions in scripts/tools.sh and deploy/assistants.sh (-tests +image):\n%s", diff)
	}
}

var assignment = regexp.MustCompile(`(?m)^      ([A-Z_]+): (.*)$`)

// variablesOf is what a stack or compose file sets for its workers.
func variablesOf(t *testing.T, path, service string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n  "+service+":\n")
	_, rest, listed := strings.Cut(rest, "    environment:\n")
	if !found || !listed {
		t.Fatalf("%s: no environment of %s", path, service)
	}
	set := map[string]string{}
	for _, m := range assignment.FindAllStringSubmatch(rest[:strings.Index(rest, "    networks:")], -1) {
		set[m[1]] = m[2]
	}
	return set
}

// What .env sets reaches the workers: each variable has a place of its own name, a fixed value or a secret. A worker's address
// and a directory for storage are nothing that a fleet could change.
func TestTheFleetHasEveryVariable(t *testing.T) {
	never := []string{"HOST", "PORT", "STORAGE_DIR"}
	fixed := []string{"WORKSPACE_DIR", "STATE_DIR", "AGENT_UID", "MIN_UPTIME"}
	optional := []string{"CODING_ASSISTANT_AUTHENTICATION", "GITHUB_ACCESS_TOKEN"} // deploy-swarm.sh adds them as secrets
	for path, service := range map[string]string{"swarm.yml": "unified-worker", "docker-compose.yml": "worker"} {
		set := variablesOf(t, path, service)
		for _, v := range config.Variables() {
			value, found := set[v.Name]
			_, secret := set[v.Name+"_FILE"]
			switch {
			case slices.Contains(never, v.Name):
			case secret, path == "swarm.yml" && slices.Contains(optional, v.Name):
				if found {
					t.Errorf("%s: the secret %s stands in the open", path, v.Name)
				}
			case !found:
				t.Errorf("%s: no %s for its workers", path, v.Name)
			case !slices.Contains(fixed, v.Name) && !strings.HasPrefix(value, "${"+v.Name+":"):
				t.Errorf("%s: %s is %s, whatever .env says", path, v.Name, value)
			}
		}
	}
}

var lifetimes = regexp.MustCompile(`(MIN_UPTIME|monitor): (\w+)`)

// A worker lives longer than Swarm watches it, in an update and in one that is taken back: a quick good job is no failure.
func TestWorkersOutliveTheWatch(t *testing.T) {
	text, err := os.ReadFile("swarm.yml")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]time.Duration{}
	for _, m := range lifetimes.FindAllStringSubmatch(string(text), -1) {
		d, err := time.ParseDuration(m[2])
		if err != nil {
			t.Fatal(err)
		}
		found[m[1]] = append(found[m[1]], d)
	}
	if len(found["MIN_UPTIME"]) != 1 || len(found["monitor"]) != 2 {
		t.Fatalf("want one lifetime and two watches: %v", found)
	}
	for _, watch := range found["monitor"] {
		if watch >= found["MIN_UPTIME"][0] {
			t.Errorf("Swarm watches for %v a worker that may live for %v", watch, found["MIN_UPTIME"][0])
		}
	}
}

// composeScript runs deploy/compose.sh in a folder of its own that has the .env, with a Compose that only writes down what it is
// told; it returns that, and the .env afterwards.
func composeScript(t *testing.T, env string, args ...string) (calls, envAfter string, mode os.FileMode) {
	t.Helper()
	dir, bin := t.TempDir(), t.TempDir()
	told, envFile := filepath.Join(dir, "told"), filepath.Join(dir, ".env")
	compose, err := os.ReadFile("docker-compose.yml")
	err = errors.Join(err,
		os.CopyFS(filepath.Join(dir, "deploy"), os.DirFS("deploy")),
		os.WriteFile(filepath.Join(dir, "docker-compose.yml"), compose, 0o600),
		os.WriteFile(envFile, []byte(env), 0o644),
		os.WriteFile(filepath.Join(bin, "docker"), []byte("#!/bin/sh\nexit 1\n"), 0o700), // no Compose of its own
		os.WriteFile(filepath.Join(bin, "docker-compose"), []byte("#!/bin/sh\nshift 2\necho \"$*\" >>"+told+"\n"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	script := exec.CommandContext(t.Context(), filepath.Join(dir, "deploy", "compose.sh"), args...)
	script.Env = append(script.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said, err := os.ReadFile(told)
	after, errAfter := os.ReadFile(envFile)
	info, errMode := os.Stat(envFile)
	if err := errors.Join(err, errAfter, errMode); err != nil {
		t.Fatal(err)
	}
	return string(said), string(after), info.Mode().Perm()
}

// `make down` ends the workers before MinIO and the front, which jobs that still run need.
func TestDownLetsJobsEndFirst(t *testing.T) {
	if calls, _, _ := composeScript(t, "", "down"); calls != "stop worker\ndown\n" {
		t.Errorf("Compose was told %q", calls)
	}
}

// Secrets that are made up stand in lines of their own, for the owner of .env alone.
func TestMadeUpSecrets(t *testing.T) {
	_, env, mode := composeScript(t, "LOG_LEVEL=debug", "ps") // the last line as an editor may leave it
	if !strings.HasPrefix(env, "LOG_LEVEL=debug\nMINIO_ROOT_USER=root-") || strings.Count(env, "\n") != 6 || mode != 0o600 {
		t.Errorf("mode %v:\n%s", mode, env)
	}
}
