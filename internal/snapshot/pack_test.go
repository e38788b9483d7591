package snapshot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// packed packs dir/include in this process and unpacks it again into a new directory.
func packed(t *testing.T, tr snapshot.Tar, dir string, include ...string) (string, snapshot.Report) {
	t.Helper()
	var out bytes.Buffer
	report, err := snapshot.Pack(dir, tr, &out, include...)
	if err != nil {
		t.Fatal(err)
	}
	back := t.TempDir()
	files, size, err := snapshot.Unpack(back, tr, &out)
	if err != nil {
		t.Fatal(err)
	}
	if files != report.Files || size != report.Bytes {
		t.Errorf("%d files of %d bytes came back, the report has %d of %d", files, size, report.Files, report.Bytes)
	}
	return back, report
}

func put(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

func TestPackSkipsWhatCannotBeStored(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "checkout", "kept"), "kept")
	if err := syscall.Mkfifo(filepath.Join(dir, "checkout", "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	socket, err := lc.Listen(t.Context(), "unix", filepath.Join(dir, "checkout", "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := syscall.Mkfifo(filepath.Join(dir, "checkout", "bell\a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sparse(filepath.Join(dir, "checkout", "terabyte"), 1<<40); err != nil {
		t.Fatal(err)
	}

	start := time.Now()
	back, report := packed(t, snapshot.Tar{MaxBytes: 1 << 30}, dir, "checkout")
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	want := []string{
		`"checkout/bell\a\n": a FIFO`, "checkout/fifo: a FIFO", "checkout/socket: a socket",
		"checkout/terabyte: over the limit of 1073741824 bytes",
	}
	if diff := cmp.Diff(want, report.Skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	if got := names(t, filepath.Join(back, "checkout")); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("restored %q", got)
	}
}

func TestPackLeavesCredentialsOut(t *testing.T) {
	const canary = "canary-refresh-token"
	dir := t.TempDir()
	for _, name := range []string{"home/.claude/.credentials.json", "home/.codex/auth.json", "home/.claude/projects/.credentials.json"} {
		put(t, filepath.Join(dir, name), canary)
	}
	put(t, filepath.Join(dir, "home/.claude/settings.json"), "{}")
	put(t, filepath.Join(dir, "checkout/repo/auth.json"), "a file of the repository")

	var out bytes.Buffer
	report, err := snapshot.Pack(dir, snapshot.Tar{}, &out, "checkout", "home/.claude", "home/.codex/auth.json")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(decompress(t, out.Bytes()), []byte(canary)) {
		t.Error("the archive holds a credential")
	}
	want := []string{
		"home/.claude/.credentials.json: a credential", "home/.claude/projects/.credentials.json: a credential",
		"home/.codex/auth.json: a credential",
	}
	if diff := cmp.Diff(want, report.Skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	back := t.TempDir()
	if _, _, err := snapshot.Unpack(back, snapshot.Tar{}, &out); err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{"home/.claude/settings.json", "checkout/repo/auth.json"} {
		if _, err := os.Stat(filepath.Join(back, kept)); err != nil {
			t.Errorf("not kept: %v", err)
		}
	}
}

// What an include only passes through is stored as a directory, and what lies beside is not.
func TestPackTakesOnlyWhatIsIncluded(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"home/.claude/projects/p/s", "home/.claude/statsig/x", "home/.bashrc", "elsewhere"} {
		put(t, filepath.Join(dir, name), "x")
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "home", "link")); err != nil {
		t.Fatal(err)
	}
	back, report := packed(t, snapshot.Tar{}, dir,
		"checkout", "home/.claude/projects", "home/.claude/projects/p", "home/.bashrc", "home/link/passwd", "home/.bashrc/x")
	if report.Files != 2 {
		t.Errorf("%d files, want 2", report.Files)
	}
	if diff := cmp.Diff([]string{"home/link: not a directory"}, report.Skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	if got := names(t, filepath.Join(back, "home")); !slices.Equal(got, []string{".bashrc", ".claude"}) {
		t.Errorf("restored below home: %q", got)
	}
	if got := names(t, filepath.Join(back, "home", ".claude")); !slices.Equal(got, []string{"projects"}) {
		t.Errorf("restored below home/.claude: %q", got)
	}
}

func TestPackKeepsWithinItsLimits(t *testing.T) {
	dir := t.TempDir()
	for i := range 300 {
		put(t, filepath.Join(dir, "checkout", fmt.Sprintf("%03d", i)), "12345")
	}
	t.Run("bytes", func(t *testing.T) {
		_, report := packed(t, snapshot.Tar{MaxBytes: 52}, dir, "checkout")
		if report.Files != 10 || report.Bytes != 50 {
			t.Errorf("%d files of %d bytes, want 10 of 50", report.Files, report.Bytes)
		}
		if n := len(report.Skipped); n != 101 || report.Skipped[100] != "and 190 more" {
			t.Errorf("%d skipped, the last %q", n, report.Skipped[n-1])
		}
	})
	t.Run("entries", func(t *testing.T) {
		_, report := packed(t, snapshot.Tar{MaxEntries: 201}, dir, "checkout")
		if report.Files != 200 || len(report.Skipped) != 100 {
			t.Errorf("%d files, %d skipped, want 200 and 100", report.Files, len(report.Skipped))
		}
	})
	t.Run("entries on the way to an include", func(t *testing.T) {
		put(t, filepath.Join(dir, "home/.claude/projects/p"), "x")
		back, report := packed(t, snapshot.Tar{MaxEntries: 302}, dir, "checkout", "home/.claude/projects")
		if want := []string{"home/.claude: over the limit of 302 entries"}; !slices.Equal(report.Skipped, want) {
			t.Errorf("skipped %q, want %q", report.Skipped, want)
		}
		if got := names(t, back); !slices.Equal(got, []string{"checkout", "home"}) {
			t.Errorf("restored %q", got)
		}
	})
	t.Run("depth", func(t *testing.T) {
		deep := t.TempDir()
		put(t, filepath.Join(deep, "checkout", strings.Repeat("d/", 600)+"f"), "x")
		_, report := packed(t, snapshot.Tar{}, deep, "checkout")
		if report.Files != 0 || len(report.Skipped) != 1 {
			t.Errorf("%d files, skipped %q", report.Files, report.Skipped)
		}
	})
}

// changing calls change once, when the archive's first bytes are written: in the middle of packing.
type changing struct {
	io.Writer
	change func()
}

func (c *changing) Write(p []byte) (int, error) {
	if c.change != nil {
		c.change()
		c.change = nil
	}
	return c.Writer.Write(p)
}

func TestPackSurvivesChanges(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, "checkout", name) }
	put(t, at("a-shrinks"), string(noise(1, 32<<20))) // does not fit into any buffer on the way
	put(t, at("b-vanishes"), "x")
	put(t, at("c-becomes-link"), "x")
	put(t, at("d-becomes-fifo"), "x")
	put(t, at("e/inside"), "x")
	put(t, at("z-last"), "kept")
	out := &bytes.Buffer{}
	report, err := snapshot.Pack(dir, snapshot.Tar{}, &changing{Writer: out, change: func() {
		for _, err := range []error{
			os.Truncate(at("a-shrinks"), 1<<20), os.Remove(at("b-vanishes")), os.Remove(at("c-becomes-link")),
			os.Symlink("/etc/passwd", at("c-becomes-link")), os.Remove(at("d-becomes-fifo")),
			syscall.Mkfifo(at("d-becomes-fifo"), 0o600), os.RemoveAll(at("e")), os.Symlink("/etc", at("e")),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	}}, "checkout")
	if err != nil {
		t.Fatal(err)
	}
	back := t.TempDir()
	if _, _, err := snapshot.Unpack(back, snapshot.Tar{}, out); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, filepath.Join(back, "checkout")), []string{"a-shrinks", "c-becomes-link", "e", "z-last"}; !slices.Equal(got, want) {
		t.Errorf("restored %q, want %q", got, want)
	}
	if len(report.Skipped) != 2 || !strings.HasPrefix(report.Skipped[0], "checkout/a-shrinks: changed while") {
		t.Errorf("skipped %q", report.Skipped)
	}
}

// A directory or file that is swapped for a link again and again yields the one or the other, never what the link leads to.
func TestPackNeverFollowsASwappedLink(t *testing.T) {
	const canary = "canary-outside-the-workspace"
	outside := t.TempDir()
	put(t, filepath.Join(outside, "secret"), canary)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "checkout", "d", "secret"), "mine")
	target := filepath.Join(dir, "checkout", "d")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(target, target+"-aside")
			_ = os.Symlink(outside, target)
			_ = os.Remove(target)
			_ = os.Rename(target+"-aside", target)
		}
	}()
	for range 300 {
		var out bytes.Buffer
		if _, err := snapshot.Pack(dir, snapshot.Tar{}, &out, "checkout"); err != nil {
			t.Error(err)
		}
		if bytes.Contains(decompress(t, out.Bytes()), []byte(canary)) {
			t.Fatal("the archive holds a file from outside")
		}
	}
	close(stop)
	<-stopped
}

func TestPackFailsWhenItsReaderDoes(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "checkout", "a"), "x")
	broken := errors.New("broken pipe")
	r, w := io.Pipe()
	r.CloseWithError(broken)
	if _, err := snapshot.Pack(dir, snapshot.Tar{}, w, "checkout"); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestSparseFilesKeepTheirHoles(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "checkout", "x"), "x")
	if err := sparse(filepath.Join(dir, "checkout", "holes"), 64<<20); err != nil {
		t.Fatal(err)
	}
	back, _ := packed(t, snapshot.Tar{}, dir, "checkout")
	info, err := os.Stat(filepath.Join(back, "checkout", "holes"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != 64<<20 {
		t.Errorf("size %d", info.Size())
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 1<<20 {
		t.Errorf("%d bytes of the disk in use", used)
	}
}
