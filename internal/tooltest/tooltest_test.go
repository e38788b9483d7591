package tooltest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const script = "../../scripts/tools.sh"

// The script that installs and the package that looks must agree on every tool, and on the cache.
func TestScriptInstallsWhereWeLook(t *testing.T) {
	for name, want := range folders {
		if got := ask(t, nil, "--folder", name); got != want {
			t.Errorf("the script installs %s into %s, we look into %s", name, got, want)
		}
	}
	want, err := cache()
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, os.Environ(), "--cache"); got != want {
		t.Errorf("the script's cache is %s, ours %s", got, want)
	}
	t.Setenv("AICW_CACHE", "/some/where")
	if got, err := cache(); err != nil || got != ask(t, os.Environ(), "--cache") {
		t.Errorf("AICW_CACHE: ours is %s, %v", got, err)
	}
}

func ask(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), script, args...)
	cmd.Env = env
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestPath(t *testing.T) {
	t.Setenv("AICW_CACHE", t.TempDir())
	if _, err := find("minio"); err == nil || !strings.Contains(err.Error(), "run scripts/tools.sh") {
		t.Errorf("a missing tool: %v", err)
	}
	bin := filepath.Join(os.Getenv("AICW_CACHE"), folders["minio"], "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join(bin, "minio")
	if err := os.WriteFile(tool, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := Path(t, "minio"); got != tool {
		t.Errorf("found %s, want %s", got, tool)
	}
	if _, err := find("no such tool"); err == nil {
		t.Error("an unknown tool was found")
	}
}
