package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// memoryCgroup makes a cgroup whose processes have so much memory together; "" where this machine does not let us.
func memoryCgroup(t *testing.T, limit string) string {
	t.Helper()
	for root, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		dir, err := os.MkdirTemp(root, "aicw-test-") //nolint:usetesting // a cgroup is made in its file system
		if err != nil {
			continue
		}
		t.Cleanup(func() { waitFor(t, "the cgroup is empty", func() bool { return os.Remove(dir) == nil }) })
		if limits, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0); err == nil { // else it is a folder like any other
			defer limits.Close()
			if _, err := limits.WriteString(limit); err == nil {
				return dir
			}
		}
	}
	return ""
}

// TestOutOfMemory lets an agent eat all the memory that its worker has: the kernel kills the agent, and the worker saves the work.
// The detection by itself is tested in agentproc, for machines whose cgroups are not ours to make.
func TestOutOfMemory(t *testing.T) {
	cgroup := memoryCgroup(t, "600M")
	if cgroup == "" {
		t.Log("no cgroup with a limit can be made here")
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host, repoURL := startGit(t)
	for name, hog := range map[string]string{"the agent itself": "exec tail /dev/zero", "its tool": "tail /dev/zero"} {
		t.Run(name, func(t *testing.T) {
			id := strings.ReplaceAll(name, " ", "-")
			p := startCommand(t, env(t), "/bin/sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$1"`, cgroup, self)
			s := p.post(script("ulimit -v 4000000; echo kept > kept.txt; echo eating; "+hog, "github", github(repoURL), "websiteSessionId", id))
			last := s.failed("out_of_memory")
			if last["pushed"] != true || !strings.Contains(last["error"].(string), "memory ran out") {
				t.Errorf("error: %v", last)
			}
			if code := p.exited(); code != 0 {
				t.Errorf("exit status %d", code)
			}
			if got := git(t, host.Dir("acme/site"), "show", last["branch"].(string)+":kept.txt"); got != "kept\n" {
				t.Errorf("kept.txt: %q", got)
			}
		})
	}
}
