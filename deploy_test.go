package root_test

import (
	"os"
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
