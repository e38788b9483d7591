package agentproc_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// shell runs a script as the agent and returns what it prints.
func shell(t *testing.T, a *agentproc.Agent, dir, script string) string {
	t.Helper()
	cmd := a.Command("sh", "-c", script)
	cmd.Dir = dir
	out, err := cmd.Output(context.WithoutCancel(t.Context())) // also in cleanups
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestFilesAreTheAgents(t *testing.T) {
	a, dir := agenttest.Start(t), agenttest.Dir(t)
	if err := a.MkdirAll(t.Context(), dir+"/a/b"); err != nil {
		t.Fatal(err)
	}
	if err := a.WriteFile(t.Context(), dir+"/a/b/f", 0o640, strings.NewReader("first")); err != nil {
		t.Fatal(err)
	}
	if err := a.WriteFile(t.Context(), dir+"/a/b/f", 0o600, strings.NewReader("second")); err != nil {
		t.Fatal(err)
	}
	got := shell(t, a, dir, "stat -c '%n %u %a' a a/b a/b/f; ls -A a/b")
	uid := strconv.Itoa(a.UID())
	if diff := cmp.Diff("a "+uid+" 700\na/b "+uid+" 700\na/b/f "+uid+" 600\nf\n", got); diff != "" {
		t.Error(diff)
	}
	content, err := a.ReadFile(t.Context(), dir+"/a/b/f", 6)
	if err != nil || string(content) != "second" {
		t.Errorf("%q, %v", content, err)
	}
	shell(t, a, dir, "mkdir -p a/locked/in && touch a/locked/in/x && chmod 500 a/locked/in && chmod 0 a/locked")
	for range 2 {
		if err := a.RemoveAll(t.Context(), dir+"/a"); err != nil {
			t.Fatal(err)
		}
	}
	if got := shell(t, a, dir, "ls -A"); got != "" {
		t.Errorf("left: %s", got)
	}
}

func TestReadFileErrors(t *testing.T) {
	a, dir := agenttest.Start(t), agenttest.Dir(t)
	shell(t, a, dir, "mkfifo fifo; mkdir folder; printf 1234567 > seven; printf x > closed; chmod 0 closed; ln -s seven link; ln -s /dev/zero zero")
	tests := map[string]error{
		"none": fs.ErrNotExist, "fifo": agentproc.ErrNotRegular, "folder": agentproc.ErrNotRegular, "zero": agentproc.ErrNotRegular,
		"seven": agentproc.ErrTooLarge, "link": agentproc.ErrTooLarge, "closed": fs.ErrPermission,
	}
	for name, want := range tests {
		_, err := a.ReadFile(t.Context(), filepath.Join(dir, name), 6)
		var path *fs.PathError
		if !errors.Is(err, want) || !errors.As(err, &path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.ReadFile(t.Context(), "relative", 6); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("relative: %v", err)
	}
	if os.Geteuid() == 0 {
		hidden := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(hidden, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := a.ReadFile(t.Context(), hidden, 6); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("in the worker's folder: %v", err)
		}
	}
}

func TestWriteFileIsWholeOrNotAtAll(t *testing.T) {
	a, dir := agenttest.Start(t), agenttest.Dir(t)
	shell(t, a, dir, "printf old > f; mkfifo fifo; printf kept > target; ln -s target link")
	broken := errors.New("the store went away")
	err := a.WriteFile(t.Context(), dir+"/f", 0o600, io.MultiReader(strings.NewReader("half"), errReader{broken}))
	if !errors.Is(err, broken) {
		t.Errorf("WriteFile: %v", err)
	}
	for _, name := range []string{"fifo", "link"} { // neither waited for nor followed
		if err := a.WriteFile(t.Context(), filepath.Join(dir, name), 0o600, strings.NewReader("new")); err != nil {
			t.Error(err)
		}
	}
	if got := shell(t, a, dir, "cat f target fifo link"); got != "oldkeptnewnew" {
		t.Errorf("the files hold %q", got)
	}
	if err := a.WriteFile(t.Context(), dir+"/none/f", 0o600, strings.NewReader("new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile: %v", err)
	}
}

func TestFileWorkEndsWithItsContext(t *testing.T) {
	a, dir := agenttest.Start(t), agenttest.Dir(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	endless, stop := io.Pipe()
	defer stop.Close()
	if err := a.WriteFile(ctx, dir+"/f", 0o600, endless); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WriteFile: %v", err)
	}
}

func TestPrepareDir(t *testing.T) {
	a, own := agenttest.Start(t), agenttest.Dir(t)
	base, err := os.MkdirTemp("/tmp", "agentproc-") //nolint:usetesting // t.TempDir is closed to the agent's uid
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		shell(t, a, "/", "rm -rf "+base+"/*/made "+own+"/new")
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	for dir, mode := range map[string]fs.FileMode{base: 0o755, base + "/empty": 0o755, base + "/full": 0o755, base + "/full/x": 0o755} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{own, own + "/new/deep", base + "/missing", base + "/empty", "/tmp"} {
		if err := agentproc.PrepareDir(t.Context(), a, dir); err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		if dir != "/tmp" {
			shell(t, a, dir, "mkdir made && rmdir made")
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := agentproc.PrepareDir(t.Context(), a, base+"/full"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("another's directory: %v", err)
	}
	if info, err := os.Stat(base + "/full"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("it was changed: %v, %v", info.Mode(), err)
	}
	if err := agentproc.PrepareDir(t.Context(), a, filepath.Join(t.TempDir(), "hidden")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("below a closed directory: %v", err)
	}
	if err := agentproc.PrepareDir(t.Context(), a, "/etc/passwd"); err == nil || errors.Is(err, syscall.ENOENT) {
		t.Errorf("a file: %v", err)
	}
}
