package agentproc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// stdinGrace is how long Run waits, after the command's end, for a read from Stdin to return.
const stdinGrace = 100 * time.Millisecond

// limitSelf is how a command limits its own memory. The supervisor may not do it, for lack of CAP_SYS_RESOURCE, and another
// start of this program would take longer. Where it may not, because its limit is lower already, that one holds.
const (
	shell     = "/bin/sh"
	limitSelf = `ulimit -d "$1" 2>/dev/null; shift; exec "$@"`
)

// Cmd is a command to run under the agent's uid, in a session of its own, with the descriptors 0, 1, 2 and those of
// its Secrets, and no others. Fields are set before, and one of Run, Output or Start is called once.
type Cmd struct {
	Path   string    // absolute, or a name that is looked up in Config.Path; never relative to a folder
	Args   []string  // without argv[0]
	Dir    string    // where it runs, as far as the agent's uid may enter it; empty: "/"
	Env    []string  // its whole environment, "NAME=value"; PATH is added if it is missing
	Stdin  io.Reader // for Run and Output; nil: empty. An error from it ends the command and is returned.
	Stdout io.Writer // for Run; takes the raw bytes; nil: dropped. An error from it ends the command and is returned.
	Memory int64     // bytes that each process of the command may allocate, unless it is limited to less; 0: no limit

	// Secrets are given to the command in pipes, as descriptors 3, 4, …, each with the secret alone. It can also open
	// them by path (/dev/fd/3). What was read is gone.
	Secrets []secret.String

	agent  *Agent
	helper bool
}

// Command returns a command of the given program.
func (a *Agent) Command(name string, args ...string) *Cmd {
	return &Cmd{Path: name, Args: args, agent: a}
}

// Helper returns a command that runs one of the helpers this program gave to Dispatch.
func (a *Agent) Helper(name string, args ...string) *Cmd {
	return &Cmd{Path: name, Args: args, agent: a, helper: true}
}

// Run runs the command to its end: on return it and every process it started are gone, and all output is written.
// (A process in a session of its own can be taken for one of another command that was started before it and still
// runs; it then ends with that one.) Another exit status than 0 is an *ExitError. When ctx ends, the whole tree is
// killed and the cause of ctx's end returned. A command may end before it has read all of Stdin; a Read from Stdin that
// is under way then is waited for only briefly, and may return after Run.
func (c *Cmd) Run(ctx context.Context) error {
	p, err := c.start(ctx, c.Stdin != nil, c.Stdout != nil)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { p.abort(context.Cause(ctx)) })
	defer stop()
	fed := c.feed(p)
	c.drain(p)
	err = p.Wait()
	grace := time.NewTimer(stdinGrace)
	defer grace.Stop()
	select {
	case <-fed:
	case <-grace.C:
	}
	if cause := p.failure(); cause != nil {
		return cause
	}
	return err
}

// feed copies Stdin to the command; the channel is closed when that is over.
func (c *Cmd) feed(p *Process) <-chan struct{} {
	done := make(chan struct{})
	if c.Stdin == nil {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		source := &source{r: c.Stdin}
		_, _ = io.Copy(p.stdin, source) // a failed write is a command that reads no further
		if source.err != nil {
			// Stdin stays open until the command is dead: it must not take this for the end of a whole input.
			p.fail(fmt.Errorf("read the standard input of %s: %w", p.name, source.err))
			return
		}
		_ = p.stdin.Close()
	}()
	return done
}

// source tells a failed read from a failed write.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// drain copies the command's output to Stdout.
func (c *Cmd) drain(p *Process) {
	if c.Stdout == nil {
		return
	}
	defer p.stdout.file.Close()
	if _, err := io.Copy(c.Stdout, p.stdout); err != nil {
		p.fail(fmt.Errorf("copy the output of %s: %w", p.name, err))
	}
}

// Output is Run, and returns what the command printed, also beside an error. It keeps all of it in memory.
func (c *Cmd) Output(ctx context.Context) ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run(ctx)
	return out.Bytes(), err
}

// Start starts the command for a conversation over the Process's Stdin and Lines; Cmd.Stdin and Cmd.Stdout are not
// used. ctx bounds the start only. The caller must call Lines and Wait.
func (c *Cmd) Start(ctx context.Context) (*Process, error) { return c.start(ctx, true, true) }

func (c *Cmd) start(ctx context.Context, stdin, stdout bool) (*Process, error) {
	p, err := c.launch(ctx, stdin, stdout)
	if err != nil && c.Dir != "" {
		return nil, fmt.Errorf("start %s in %s: %w", filepath.Base(c.Path), c.Dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(c.Path), err)
	}
	return p, nil
}

func (c *Cmd) launch(ctx context.Context, stdin, stdout bool) (*Process, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(c.Secrets) > maxSecrets {
		return nil, fmt.Errorf("%d secrets: %w", len(c.Secrets), syscall.E2BIG)
	}
	job, err := c.spawn()
	if err != nil {
		return nil, err
	}
	ends, err := newPipes(c.agent.uid, stdin, stdout, c.Secrets)
	if err != nil {
		return nil, err
	}
	id := c.agent.calls.newID()
	call := c.agent.calls.add(id)
	kills := oomKills(c.agent.cfg.MemoryEvents)
	err = c.agent.send(frame{Op: opSpawn, ID: id, Spawn: job, fds: ends.child})
	ends.closeChild()
	if err == nil {
		err = c.agent.started(ctx, id, call)
	}
	if err != nil {
		ends.close()
		return nil, err
	}
	return newProcess(c.agent, filepath.Base(c.Path), id, call, ends, kills), nil
}

// started waits until the command runs. One that is not waited for any longer is killed, and gone on return: the caller
// may be about to remove what it works on.
func (a *Agent) started(ctx context.Context, id uint64, call *call) error {
	f, err := call.wait(ctx)
	if err != nil {
		_ = a.send(frame{Op: opKill, ID: id})
		call.drain()
		return err
	}
	if f.Errno != 0 {
		return syscall.Errno(f.Errno)
	}
	return nil
}

func (c *Cmd) spawn() (*spawn, error) {
	job := &spawn{Dir: []byte("/"), Helper: c.helper, Env: raw(c.environment())}
	if c.Dir != "" {
		job.Dir = []byte(c.Dir)
	}
	if c.helper {
		job.Path, job.Args = []byte(selfExe), raw(append([]string{helperName, c.Path}, c.Args...))
		job.Env = append(job.Env, raw(processEnv)...)
		return job, nil
	}
	path, err := lookUp(c.Path, c.agent.cfg.Path)
	if err != nil {
		return nil, err
	}
	job.Path, job.Args = []byte(path), raw(append([]string{c.Path}, c.Args...))
	if c.Memory > 0 {
		job.Path, job.Args = []byte(shell), raw(append([]string{shell, "-c", limitSelf, shell, fmt.Sprint(c.Memory >> 10), path}, c.Args...))
	}
	return job, nil
}

func (c *Cmd) environment() []string {
	for _, v := range c.Env {
		if strings.HasPrefix(v, "PATH=") {
			return c.Env
		}
	}
	return append(c.Env[:len(c.Env):len(c.Env)], "PATH="+c.agent.cfg.Path)
}

// LookPath returns where a command of that name is found in path (empty: DefaultPath), or "" if it is not.
func LookPath(name, path string) string {
	if path == "" {
		path = DefaultPath
	}
	file, err := lookUp(name, path)
	if err != nil {
		return ""
	}
	return file
}

// lookUp finds a program. The working directory is never looked at, not even through an empty or relative entry of path.
func lookUp(name, path string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	if name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q is neither a name nor an absolute path: %w", name, exec.ErrNotFound)
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if !filepath.IsAbs(file) {
			continue
		}
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", exec.ErrNotFound
}
