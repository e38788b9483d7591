package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// command is one git of the worker's own, in the vault, where nobody else writes. It sees no credential, no network and
// no configuration but the vault's, and it dies with its group when ctx ends.
type command struct {
	args   []string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer // gets a copy, for progress; nil: nobody
}

// exitError is a git that did not succeed.
type exitError struct {
	verb   string
	code   int
	stderr string
}

func (e *exitError) Error() string {
	return fmt.Sprintf("git %s: exit status %d: %s", e.verb, e.code, e.stderr)
}

func (v *Vault) run(ctx context.Context, c command) error {
	cmd := exec.CommandContext(ctx, v.git, c.args...)
	cmd.Dir = v.dir
	cmd.Env = []string{
		"PATH=" + filepath.Dir(v.git) + ":/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C",
		"GIT_DIR=" + v.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=none",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	said := &tail{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.stdin, c.stdout, io.Writer(said)
	if c.stderr != nil {
		cmd.Stderr = io.MultiWriter(said, c.stderr)
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &exitError{verb: c.args[0], code: exit.ExitCode(), stderr: said.String()}
	}
	if err != nil {
		return fmt.Errorf("git %s: %w", c.args[0], err)
	}
	return nil
}

const maxStderr = 4 << 10

// tail keeps the end of what git writes.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if excess := len(t.buf) - maxStderr; excess > 0 {
		t.buf = append(t.buf[:0], t.buf[excess:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	said := bytes.TrimSpace(t.buf)
	if i := bytes.LastIndexByte(said, '\r'); i >= 0 {
		said = bytes.TrimSpace(said[i:])
	}
	return string(bytes.ToValidUTF8(said, nil))
}
