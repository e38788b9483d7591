// Package agenttest gives tests an agent and a place where it can work. The tests' TestMain must call
// agentproc.Dispatch first.
package agenttest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/fsuid"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// UID is what agents run under in tests that run as root.
const UID = 10001

const startTimeout = 30 * time.Second

// Start starts an agent that scrubs the given secrets; it is closed when the test ends.
func Start(t testing.TB, secrets ...secret.String) *agentproc.Agent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	a, err := agentproc.Start(ctx, agentproc.Config{UID: UID, Scrubber: secret.NewScrubber(secrets...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// Dir makes a directory of the agent's own, with mode 0700, where its uid can get to, and removes it when the test
// ends. A root with all its capabilities can look into it; one without DAC_OVERRIDE, as the worker is, cannot.
func Dir(t testing.TB) string {
	t.Helper()
	uid := os.Geteuid()
	if uid == 0 {
		uid = UID
	}
	var dir string
	err := fsuid.Do(uid, func() (err error) {
		dir, err = os.MkdirTemp("/tmp", "agenttest-") //nolint:usetesting // t.TempDir is closed to the agent's uid
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, uid, dir) })
	return dir
}

// remove removes as the agent, and then what the test itself may have put there.
func remove(t testing.TB, uid int, dir string) {
	_ = fsuid.Do(uid, func() error {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.Chmod(path, 0o700)
			}
			return nil
		})
		return os.RemoveAll(dir)
	})
	if err := os.RemoveAll(dir); err != nil {
		t.Errorf("remove the agent's directory: %v", err)
	}
}
