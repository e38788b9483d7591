package eventlog_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
)

const smallDisk = "EVENTLOG_TEST_SMALL_DISK"

// TestTerminalEventHasItsPlace fills a disk of a megabyte. It runs once more in a process to which such a disk is mounted;
// where nobody may mount one, the disk of the worker's own test is left.
func TestTerminalEventHasItsPlace(t *testing.T) {
	if dir := os.Getenv(smallDisk); dir != "" {
		fillDisk(t, dir)
		return
	}
	if out, err := onSmallDisk(t, "true").CombinedOutput(); err != nil {
		t.Logf("no disk can be mounted here: %v\n%s", err, out)
		return
	}
	if out, err := onSmallDisk(t, os.Args[0], "-test.run=^TestTerminalEventHasItsPlace$").CombinedOutput(); err != nil {
		t.Errorf("on a small disk: %v\n%s", err, out)
	}
}

func onSmallDisk(t *testing.T, command ...string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	in := []string{"--user", "--map-current-user", "--keep-caps", "--mount", "/bin/sh", "-ec", `mount -t tmpfs -o size=1m tmpfs "$0"; exec "$@"`, dir}
	name := "unshare"
	if os.Geteuid() == 0 { // a root without CAP_SETFCAP may not make a user namespace of its own
		name, in = "setpriv", append([]string{"--reuid=10001", "--regid=10001", "--clear-groups", "unshare"}, in...)
		for _, open := range []string{dir, filepath.Dir(dir), filepath.Dir(os.Args[0]), filepath.Dir(filepath.Dir(os.Args[0]))} {
			if err := os.Chmod(open, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), name, append(in, command...)...)
	cmd.Env = append(os.Environ(), smallDisk+"="+dir)
	return cmd
}

func fillDisk(t *testing.T, dir string) {
	log := create(t, eventlog.Config{Path: filepath.Join(dir, "log"), Attempt: 1, Now: clock})
	fill := func(b event.Body) {
		t.Helper()
		for range 1000 {
			if _, err := log.Append(b); err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				return
			}
		}
		t.Fatal("the disk is never full")
	}
	words := strings.Repeat("x", 2000)
	fill(event.AssistantMessage{Data: []byte(`"` + words + `"`)})
	if _, err := log.Append(event.Notice{Message: words}); err != nil {
		t.Errorf("the worker's own event after the agent's last: %v", err)
	}
	fill(event.Notice{Message: words})
	if err := log.Finish(event.Failed{Error: words, Code: event.InternalError}); err != nil {
		t.Errorf("the terminal event: %v", err)
	}
	path := filepath.Join(dir, "another")
	_, err := eventlog.Create(eventlog.Config{Path: path, Attempt: 1, Now: clock})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a log without room for its end: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file is left of it: %v", err)
	}
}
