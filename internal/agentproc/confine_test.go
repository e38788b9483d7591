package agentproc_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox/probe"
)

var systemFolders = []string{"/bin", "/lib", "/lib64", "/usr", "/etc"}

// TestConfine looks at a command and at a helper, before and after.
func TestConfine(t *testing.T) {
	a, other := agenttest.Start(t), agenttest.Start(t)
	target := probe.NewTarget(t, a.UID())
	policy := sandbox.Policy{Read: systemFolders, Write: []string{target.InsideFolder}}
	held := !slices.Contains(sandbox.Missing(), sandbox.Files)
	for _, confined := range []bool{false, held} {
		if confined {
			if err := a.Confine(t.Context(), policy); err != nil {
				t.Fatal(err)
			}
		}
		out, err := a.Command("cat", target.OutsideFile).Output(t.Context())
		if (err != nil) != confined {
			t.Errorf("confined %t: a command reads %q, %v", confined, out, err)
		}
		data, err := a.ReadFile(t.Context(), target.OutsideFile, 100)
		if (err != nil) != confined {
			t.Errorf("confined %t: a helper reads %q, %v", confined, data, err)
		}
		if err := a.WriteFile(t.Context(), filepath.Join(target.InsideFolder, "file"), 0o600, strings.NewReader("x")); err != nil {
			t.Errorf("confined %t: %v", confined, err)
		}
	}
	if _, err := other.ReadFile(t.Context(), target.OutsideFile, 100); err != nil {
		t.Errorf("another agent: %v", err)
	}
	if _, err := os.ReadFile(target.OutsideFile); err != nil {
		t.Errorf("this process: %v", err)
	}
	if err := a.KillAll(t.Context()); err != nil {
		t.Error(err)
	}
}

// A confined agent's processes are still ended, whatever they did to get away.
func TestConfinedProcessesAreEnded(t *testing.T) {
	a := agenttest.Start(t)
	if err := a.Confine(t.Context(), sandbox.Policy{Read: systemFolders}); err != nil {
		t.Fatal(err)
	}
	const mark = "6161.17"
	if err := a.Command("/bin/sh", "-c", "setsid sleep "+mark+" & (setsid sh -c 'trap \"\" TERM; sleep "+mark+"' &)").Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), mark) {
			t.Errorf("%s is left: %q", path, line)
		}
	}
}

func TestConfineNeedsItsFolders(t *testing.T) {
	if slices.Contains(sandbox.Missing(), sandbox.Files) {
		return // nothing is opened
	}
	a := agenttest.Start(t)
	err := a.Confine(t.Context(), sandbox.Policy{Write: []string{"/nowhere/workspace"}})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/workspace") {
		t.Errorf("%v", err)
	}
}
