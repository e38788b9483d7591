package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
)

// smallDisk starts a worker to which one of its folders is a disk of two megabytes of its own; nil where this machine lets
// nobody mount one. The worker runs as the agent's user then: only in a user namespace may it mount.
func smallDisk(t *testing.T, base map[string]string, variable string) *proc {
	t.Helper()
	var in []string
	if os.Geteuid() == 0 {
		in = []string{"setpriv", "--reuid=10001", "--regid=10001", "--clear-groups"}
	}
	in = append(in, "unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "/bin/sh", "-ec")
	const mount = `mount -t tmpfs -o size=2m,mode=700 tmpfs "$0"; exec "$@"`
	dir := agenttest.Dir(t)
	probe := append(append([]string{}, in...), mount, dir, "true")
	if out, err := exec.CommandContext(t.Context(), probe[0], probe[1:]...).CombinedOutput(); err != nil {
		t.Logf("no disk can be mounted here: %v\n%s", err, out)
		return nil
	}
	base = with(base, "STORAGE_DIR", base["STORAGE_DIR"], "STATE_DIR", agenttest.Dir(t), "WORKSPACE_DIR", agenttest.Dir(t), variable, dir)
	return startCommand(t, base, append(in, mount, dir, readableCopy(t))...)
}

// readableCopy is this binary where every user can run it.
func readableCopy(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, open := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(open, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "worker")
	if err := os.WriteFile(file, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestDiskFull fills the disk of the worker's own files, and that of the workspaces: the job ends in words, and the session's
// next job has the work.
func TestDiskFull(t *testing.T) {
	for _, tt := range []struct {
		variable, script, words string
	}{
		{"STATE_DIR", "echo kept > kept.txt; yes 'a line of an agent' | head -c 20000000", "STATE_DIR"},
		{"WORKSPACE_DIR", "echo kept > kept.txt; cat /dev/zero > filler", "WORKSPACE_DIR"},
	} {
		t.Run(tt.variable, func(t *testing.T) {
			host, repoURL := startGit(t)
			base := with(env(t), "STORAGE_DIR", agenttest.Dir(t))
			p := smallDisk(t, base, tt.variable)
			if p == nil {
				return
			}
			last := p.post(script(tt.script, "github", github(repoURL), "websiteSessionId", "full")).end()
			if words := last["error"].(string); last["code"] != "internal_error" || !strings.Contains(words, tt.words) {
				t.Errorf("the job ended with %v", last)
			}
			if code := p.exited(); code != 0 {
				t.Errorf("exit status %d", code)
			}
			next := smallDisk(t, base, "XDG_UNUSED")
			done := next.post(script("rm -f filler; echo more > more.txt", "github", github(repoURL), "websiteSessionId", "full")).completed()
			if got := git(t, host.Dir("acme/site"), "show", done["branch"].(string)+":kept.txt"); got != "kept\n" {
				t.Errorf("kept.txt: %q", got)
			}
		})
	}
}
