package root_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
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
