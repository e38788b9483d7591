package agentproc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

func TestNoOutputIsLost(t *testing.T) {
	a := agenttest.Start(t)
	for i := range 200 {
		out, err := a.Command("sh", "-c", "head -c 150000 /dev/zero; printf end").Output(t.Context())
		if err != nil || len(out) != 150003 || !bytes.HasSuffix(out, []byte("end")) {
			t.Fatalf("run %d: %d bytes, %v", i, len(out), err)
		}
	}
}

func TestSlowReaderLosesNothingAfterTheExit(t *testing.T) {
	p, err := agenttest.Start(t).Command("sh", "-c", "seq 1000").Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil { // before anything is read
		t.Fatal(err)
	}
	n := 0
	if err := p.Lines(func([]byte) error { n++; return nil }); err != nil || n != 1000 {
		t.Errorf("%d lines, %v", n, err)
	}
}

func TestACommandThatReadsNothingDoesNotHang(t *testing.T) {
	a := agenttest.Start(t)
	endless, stop := io.Pipe() // a reader that never returns
	defer stop.Close()
	for name, stdin := range map[string]io.Reader{"large": bytes.NewReader(make([]byte, 1<<20)), "endless": endless} {
		cmd := a.Command("true")
		cmd.Stdin = stdin
		if err := cmd.Run(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFailingStdinEndsTheCommand(t *testing.T) {
	broken := errors.New("the store went away")
	cmd := agenttest.Start(t).Command("sh", "-c", "cat; sleep 1000")
	cmd.Stdin = io.MultiReader(strings.NewReader("half of it"), errReader{broken})
	out, err := cmd.Output(t.Context())
	if !errors.Is(err, broken) {
		t.Errorf("%q, %v", out, err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestAFailingStdoutEndsTheCommand(t *testing.T) {
	broken := errors.New("the store went away")
	cmd := agenttest.Start(t).Command("yes")
	cmd.Stdout = errWriter{broken}
	if err := cmd.Run(t.Context()); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type errWriter struct{ err error }

func (w errWriter) Write([]byte) (int, error) { return 0, w.err }

func TestWhatCannotBeStarted(t *testing.T) {
	a := agenttest.Start(t)
	dir := agenttest.Dir(t)
	if err := os.WriteFile(filepath.Join(t.TempDir(), "here"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx  context.Context
		cmd  *agentproc.Cmd
		dir  string
		want error
	}{
		"unknown name":  {t.Context(), a.Command("no-such-program"), "", exec.ErrNotFound},
		"relative path": {t.Context(), a.Command("./here"), "", exec.ErrNotFound},
		"missing file":  {t.Context(), a.Command("/no/such/program"), "", fs.ErrNotExist},
		"a directory":   {t.Context(), a.Command("/etc"), "", fs.ErrPermission},
		"missing dir":   {t.Context(), a.Command("true"), dir + "/none", fs.ErrNotExist},
		"ended context": {ended, a.Command("true"), "", context.Canceled},
		"NUL":           {t.Context(), a.Command("echo", "a\x00b"), "", fs.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.cmd.Dir = tt.dir
			err := tt.cmd.Run(tt.ctx)
			var exit *agentproc.ExitError
			if err == nil || errors.As(err, &exit) {
				t.Fatalf("Run: %v", err)
			}
			if name != "NUL" && !errors.Is(err, tt.want) {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

func TestArgumentsAndEnvironmentNeedNotBeUTF8(t *testing.T) {
	cmd := agenttest.Start(t).Command("sh", "-c", `printf '%s|%s' "$1" "$V"`, "sh", "\xff\xfe \"'\n")
	cmd.Env = []string{"V=\x80"}
	out, err := cmd.Output(t.Context())
	if want := "\xff\xfe \"'\n|\x80"; err != nil || string(out) != want {
		t.Errorf("%q, %v", out, err)
	}
}

func TestStderrIsScrubbedAndBounded(t *testing.T) {
	const canary = "canary-token-0123456789"
	a := agenttest.Start(t, secret.New(canary))
	err := a.Command("sh", "-c", `seq 100000 >&2; echo "bad token `+canary+`" >&2; exit 128`).Run(t.Context())
	var exit *agentproc.ExitError
	if !errors.As(err, &exit) || exit.Code != 128 || exit.Name != "sh" {
		t.Fatalf("Run: %v", err)
	}
	if n := len(exit.Stderr); n > 64<<10 || n < 60<<10 {
		t.Errorf("%d bytes of stderr", n)
	}
	if got, want := err.Error(), "sh: exit status 128: bad token [redacted]"; got != want {
		t.Errorf("%q", got)
	}
	if !strings.HasSuffix(exit.Stderr, "\n100000\nbad token [redacted]\n") {
		t.Errorf("stderr ends in %q", exit.Stderr[len(exit.Stderr)-100:])
	}
	if got := a.Scrub("x " + canary); got != "x [redacted]" {
		t.Errorf("Scrub: %q", got)
	}
}

func TestConversation(t *testing.T) {
	p, err := agenttest.Start(t).Command("cat").Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(p.Stdin(), "one\n"); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = p.Lines(func(line []byte) error {
		got = append(got, string(line))
		if string(line) == "one" {
			_, err := io.WriteString(p.Stdin(), "two\r\n\nlast")
			return errors.Join(err, p.Stdin().Close())
		}
		return nil
	})
	if text := strings.Join(got, "|"); err != nil || text != "one|two||last" {
		t.Errorf("%q, %v", text, err)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(p.Stdin(), "more"); err == nil {
		t.Error("a write to a command that has ended succeeds")
	}
}

func TestTerminateCanBeHandled(t *testing.T) {
	p, err := agenttest.Start(t).Command("sh", "-c", `trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done`).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var last string
	if err := p.Lines(func(line []byte) error {
		if last = string(line); last == "up" {
			p.Terminate()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var exit *agentproc.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.Code != 5 || last != "bye" {
		t.Errorf("%v after %q", err, last)
	}
}

func TestHelpers(t *testing.T) {
	a := agenttest.Start(t)
	cmd := a.Helper("echo")
	cmd.Stdin = strings.NewReader("over there")
	if out, err := cmd.Output(t.Context()); err != nil || string(out) != "over there" {
		t.Errorf("%q, %v", out, err)
	}
	for name, cmd := range map[string]*agentproc.Cmd{"failing": a.Helper("echo", "no luck"), "unknown": a.Helper("nobody")} {
		var exit *agentproc.ExitError
		if err := cmd.Run(t.Context()); !errors.As(err, &exit) || exit.Code != 1 || exit.Stderr == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCommandsRunSideBySide(t *testing.T) {
	a := agenttest.Start(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				cmd := a.Command("cat")
				cmd.Stdin = bytes.NewReader(bytes.Repeat([]byte("x"), 100_000))
				if out, err := cmd.Output(t.Context()); err != nil || len(out) != 100_000 {
					t.Errorf("%d bytes, %v", len(out), err)
				}
			}
		})
	}
	wg.Wait()
}

// Whatever moment of a start the context's end hits, nothing of the command is left when Run returns.
func TestCancelledStartLeavesNothing(t *testing.T) {
	a := agenttest.Start(t)
	dir := agenttest.Dir(t)
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
		cmd := a.Command("/bin/sh", "-c", "exec sleep 4545.45")
		cmd.Dir = dir
		if err := cmd.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Run: %v", err)
		}
		cancel()
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range lines {
			if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte("4545.45")) {
				t.Fatalf("after %d·10 µs %s still runs: %q", i, file, line)
			}
		}
	}
}

func TestAfterClose(t *testing.T) {
	a := agenttest.Start(t)
	p, err := a.Command("sleep", "1000").Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var exit *agentproc.ExitError
	if err := p.Wait(); !errors.As(err, &exit) {
		t.Errorf("Wait: %v", err)
	}
	p.Kill()
	p.Terminate()
	if err := a.Command("true").Run(t.Context()); !errors.Is(err, agentproc.ErrGone) {
		t.Errorf("Run: %v", err)
	}
	if err := a.KillAll(t.Context()); !errors.Is(err, agentproc.ErrGone) {
		t.Errorf("KillAll: %v", err)
	}
}

func TestRootIsNoAgent(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must run as root")
		}
		t.Skip("needs root")
	}
	if a, err := agentproc.Start(t.Context(), agentproc.Config{}); err == nil {
		_ = a.Close()
		t.Error("an agent runs as root")
	}
}

func TestNothingLeaks(t *testing.T) {
	cycle := func() {
		a := agenttest.Start(t)
		for range 20 {
			cmd := a.Command("cat")
			cmd.Stdin = strings.NewReader("x")
			cmd.Secrets = []secret.String{secret.New("canary-secret")}
			_, _ = cmd.Output(t.Context())
			_ = a.Command("/no/such/program").Run(t.Context())
			_ = a.Command("false").Run(t.Context())
			p, err := a.Command("cat").Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.Kill()
			_ = p.Lines(func([]byte) error { return nil })
			_ = p.Wait()
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cycle() // what stays from the first one is the runtime's
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for range 3 {
		cycle()
	}
	eventually(t, 5*time.Second, "no goroutine and no open file more than before", func() bool {
		return runtime.NumGoroutine() <= goroutines && openFiles(t) <= files
	})
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func BenchmarkRun(b *testing.B) {
	a := agenttest.Start(b)
	for b.Loop() {
		if err := a.Command("/bin/true").Run(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlainExec is what BenchmarkRun is to be compared with.
func BenchmarkPlainExec(b *testing.B) {
	for b.Loop() {
		if err := exec.CommandContext(b.Context(), "/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRunBesideAnother(b *testing.B) {
	a := agenttest.Start(b)
	p, err := a.Command("sleep", "1000").Start(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Kill()
	for b.Loop() {
		if err := a.Command("/bin/true").Run(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStartAndClose(b *testing.B) {
	for b.Loop() {
		a, err := agentproc.Start(b.Context(), agentproc.Config{UID: agenttest.UID})
		if err != nil {
			b.Fatal(err)
		}
		if err := a.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// A program in the working directory is found by no PATH, however careless.
func TestLookPathLooksInNoRelativeFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "here"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for path, want := range map[string]string{".": "", ":/bin": "", "./": "", "../" + filepath.Base(dir): "", ".:" + dir: filepath.Join(dir, "here")} {
		if got := agentproc.LookPath("here", path); got != want {
			t.Errorf("PATH=%s: %q, want %q", path, got, want)
		}
	}
}
