package agentproc_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
)

// killedCounter is a file as the kernel keeps it for a cgroup.
func killedCounter(t *testing.T, kills int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "memory.events")
	count(t, file, kills)
	return file
}

func count(t *testing.T, file string, kills int) {
	t.Helper()
	if err := os.WriteFile(file, fmt.Appendf(nil, "low 0\noom 1\noom_kill %d\n", kills), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A death by SIGKILL is the memory's fault where the kernel has counted one meanwhile, and no other is.
func TestOutOfMemoryIsTold(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		killedByUs   bool
		after        int // the kernel's count; it is 1 before
		want         bool
	}{
		{name: "the command itself", script: "read x; kill -9 $$", after: 2, want: true},
		{name: "a part of it", script: "read x; sh -c 'kill -9 $$'", after: 2, want: true},
		{name: "nothing counted", script: "read x; kill -9 $$", after: 1},
		{name: "another failure", script: "read x; exit 3", after: 2},
		{name: "another signal", script: "read x; kill -TERM $$", after: 2},
		{name: "killed by the worker", script: "sleep 60", killedByUs: true, after: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := killedCounter(t, 1)
			a, err := agentproc.Start(t.Context(), agentproc.Config{UID: agenttest.UID, MemoryEvents: []string{"/nowhere", file}})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			p, err := a.Command("sh", "-c", tt.script).Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			count(t, file, tt.after)
			if tt.killedByUs {
				p.Kill()
			}
			_ = p.Stdin().Close()
			_ = p.Lines(func([]byte) error { return nil })
			err = p.Wait()
			if got := errors.Is(err, agentproc.ErrOutOfMemory); err == nil || got != tt.want {
				t.Errorf("%v: out of memory %t, want %t", err, got, tt.want)
			}
			if tt.want != strings.Contains(fmt.Sprint(err), "memory ran out") {
				t.Errorf("the text is %q", err)
			}
		})
	}
}

// When memory runs out the kernel shall take an agent's process rather than the worker or the supervisor.
func TestKernelKillsTheAgentFirst(t *testing.T) {
	a := agenttest.Start(t)
	out, err := a.Command("cat", "/proc/self/oom_score_adj").Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	mine, err := strconv.Atoi(strings.TrimSpace(string(own)))
	if err != nil {
		t.Fatal(err)
	}
	if want := min(mine+500, 1000); score != want {
		t.Errorf("a command has the score %d, this process %d; want %d", score, mine, want)
	}
}
