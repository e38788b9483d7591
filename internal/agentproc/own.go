package agentproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ownDelay is how long the pipes of a dead command may stay open.
const ownDelay = 5 * time.Second

// Own is a command under this process's own uid: the worker's own work, on data that are anybody's. It can be killed at any
// time, which code in this process cannot, and what it may use of memory is bounded. There is no supervisor, so it must
// not start processes that leave its process group.
type Own struct {
	Path   string    // absolute; empty: this program, as the helper that Args begins with (see Dispatch)
	Args   []string  // without argv[0]; others on the machine can see them
	Dir    string    // where it runs; empty: "/"
	Env    []string  // its whole environment
	Stdin  io.Reader // nil: empty
	Stdout io.Writer // nil: dropped. An error from it ends the command.
	Stderr io.Writer // gets a copy of what an *ExitError quotes; nil: nobody
	Memory int64     // bytes that it may allocate from its first read of Stdin on, unless this process is limited to less; 0: no limit
}

// Run runs the command to its end. Another exit status than 0 is an *ExitError. When ctx ends, the process group is killed
// and the cause of ctx's end returned. When this process dies, however it dies, the command dies with it.
func (o Own) Run(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	runtime.LockOSThread() // the death signal of a child goes by the thread that forked it
	defer runtime.UnlockOSThread()
	said := &tail{}
	input := &gated{r: o.Stdin, open: make(chan struct{})}
	if o.Stdin != nil {
		o.Stdin = input
	}
	cmd := o.command(ctx, said)
	err := cmd.Start()
	if err == nil {
		err = o.finish(cmd, input)
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit):
		status, _ := exit.Sys().(syscall.WaitStatus)
		return exitError(o.name(), status, false, said.text())
	case err != nil:
		return fmt.Errorf("%s: %w", o.name(), err)
	}
	return nil
}

func (o Own) name() string {
	if o.Path == "" && len(o.Args) > 0 {
		return o.Args[0]
	}
	return filepath.Base(o.Path)
}

func (o Own) command(ctx context.Context, said *tail) *exec.Cmd {
	cmd := exec.CommandContext(ctx, o.Path, o.Args...)
	if o.Path == "" {
		cmd = exec.CommandContext(ctx, selfExe)
		cmd.Args = append([]string{helperName}, o.Args...)
	}
	cmd.Dir, cmd.Env = o.Dir, append(o.Env[:len(o.Env):len(o.Env)], processEnv...)
	if o.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = ownDelay
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Stdin, o.Stdout, io.Writer(said)
	if o.Stderr != nil {
		cmd.Stderr = io.MultiWriter(said, o.Stderr)
	}
	return cmd
}

// gated is an input that begins when it is opened.
type gated struct {
	r    io.Reader
	open chan struct{}
}

func (g *gated) Read(p []byte) (int, error) {
	<-g.open
	return g.r.Read(p)
}

// finish limits a command that has begun, lets it read, and waits for it.
func (o Own) finish(cmd *exec.Cmd, input *gated) error {
	limitErr := o.limit(cmd.Process.Pid)
	if limitErr != nil {
		_ = cmd.Cancel()
	}
	close(input.open)
	if err := cmd.Wait(); limitErr == nil {
		return err
	}
	return limitErr
}

// limit bounds what the kernel counts as data: memory that is allocated, and not files that are mapped for reading, as
// git does with its packs.
func (o Own) limit(pid int) error {
	if o.Memory <= 0 || o.Path == "" && raceDetector {
		return nil
	}
	var inherited unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_DATA, nil, &inherited); err != nil {
		return fmt.Errorf("look at its memory limit: %w", err)
	}
	most := min(uint64(o.Memory), inherited.Max) // nobody but a root with all capabilities may raise it
	if err := unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: most, Max: most}, nil); err != nil {
		return fmt.Errorf("limit its memory: %w", err)
	}
	return nil
}
