// Package agentproc runs the processes of a job that the worker must not trust. They run under the agent's uid with
// nothing of the worker's: no environment, no open files, no secrets but those given to them. Whatever they start
// can be ended for certain, and files that they could have made are touched only by processes of the same uid.
//
// Each [Agent] has a supervisor, which is this program started again (see [Dispatch]): it starts the commands, is
// the reaper of every process that comes from them, and kills them when they are to end or when the worker is gone.
package agentproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/fsuid"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// DefaultPath is where commands are looked for if Config.Path is empty.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// closeTimeout bounds the end of a supervisor: only the kernel can hold a killed process for longer.
const closeTimeout = 10 * time.Second

// ErrGone says that the agent is closed, or that its supervisor has died.
var ErrGone = errors.New("the agent's supervisor is gone")

// Config says how an agent's commands run.
type Config struct {
	UID      int              // what commands run under, and their gid, if this process is root; else they run under its own uid
	Scrubber *secret.Scrubber // goes over lines, errors and Scrub
	// MemoryEvents are files in which the kernel counts its kills for want of memory, as memory.events and memory.oom_control
	// of a cgroup do; the first that can be read is. nil: those of this process's cgroup.
	MemoryEvents []string
	// ProcessEvents are files as pids.events of a cgroup, in which the kernel counts the processes that it refuses to start; as above.
	ProcessEvents []string
	Path          string // PATH of the commands, and where they are looked for; empty: DefaultPath
}

// Agent starts commands under the agent's uid. It is safe for concurrent use.
type Agent struct {
	cfg   Config
	uid   int
	wire  *wire
	calls *calls

	supervisor *exec.Cmd
	ended      chan struct{} // closed when the supervisor's process is gone
	closing    sync.Once
	closeErr   error
}

// Start starts an agent's supervisor. ctx bounds the start only; the agent lasts until Close or the end of this process.
func Start(ctx context.Context, cfg Config) (*Agent, error) {
	if os.Args[0] == supervisorName {
		return nil, errors.New("start the agent's supervisor: this process should have been one: call agentproc.Dispatch first in main or TestMain")
	}
	if cfg.Path == "" {
		cfg.Path = DefaultPath
	}
	if cfg.MemoryEvents == nil {
		cfg.MemoryEvents = ownMemoryEvents()
	}
	if cfg.ProcessEvents == nil {
		cfg.ProcessEvents = ownProcessEvents()
	}
	a := &Agent{cfg: cfg, uid: os.Geteuid(), calls: newCalls(), ended: make(chan struct{})}
	var args []string
	if a.uid == 0 {
		if cfg.UID <= 0 {
			return nil, fmt.Errorf("start the agent's supervisor: uid %d is none for an agent", cfg.UID)
		}
		a.uid = cfg.UID
		args = []string{fmt.Sprint(cfg.UID)}
	}
	// Asked for here, where it can be explained, rather than by each command's failure.
	if err := fsuid.Do(a.uid, func() error { return nil }); err != nil {
		return nil, fmt.Errorf("start the agent's supervisor: %w", err)
	}
	if err := a.launch(args); err != nil {
		return nil, fmt.Errorf("start the agent's supervisor: %w", err)
	}
	if err := a.handshake(ctx); err != nil {
		_ = a.Close()
		return nil, fmt.Errorf("start the agent's supervisor: %w", err)
	}
	return a, nil
}

func (a *Agent) launch(args []string) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	theirs := os.NewFile(uintptr(pair[1]), "agentproc")
	defer theirs.Close()
	if a.wire, err = newWire(pair[0]); err != nil {
		return err
	}
	a.supervisor = &exec.Cmd{
		Path: selfExe, Args: append([]string{supervisorName}, args...), Env: processEnv, Dir: "/",
		Stderr: os.Stderr, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, // a terminal's Ctrl-C is for the worker, which still needs it
	}
	if err := a.supervisor.Start(); err != nil {
		_ = a.wire.conn.Close()
		return err
	}
	go func() {
		_ = a.supervisor.Wait() // its status says nothing that the socket does not
		close(a.ended)
	}()
	return nil
}

func (a *Agent) handshake(ctx context.Context) error {
	ready := a.calls.add(0)
	go a.listen()
	f, err := ready.wait(ctx)
	if err == nil && f.Error != "" {
		err = errors.New(f.Error)
	}
	return err
}

// listen hands the supervisor's frames to those who wait for them, until it is gone.
func (a *Agent) listen() {
	defer func() { _ = a.wire.conn.Close() }() // all was said
	for {
		f, err := a.wire.receive()
		if err != nil {
			a.calls.close()
			return
		}
		a.calls.deliver(f)
	}
}

// UID returns the uid that commands run under.
func (a *Agent) UID() int { return a.uid }

// Scrub returns text without the job's secrets.
func (a *Agent) Scrub(text string) string { return a.cfg.Scrubber.Text(text) }

// SetScrubber replaces Config.Scrubber, for an agent that was started before its job was known. Call it before the
// first command.
func (a *Agent) SetScrubber(s *secret.Scrubber) { a.cfg.Scrubber = s }

// KillAll kills every process of the agent: on return none is left of those that existed when it was called, whatever
// they did to get away. A command that is started meanwhile may be killed too. ctx bounds the waiting, not the killing.
func (a *Agent) KillAll(ctx context.Context) error {
	id := a.calls.newID()
	gone := a.calls.add(id)
	if err := a.send(frame{Op: opKillAll, ID: id}); err != nil {
		return fmt.Errorf("kill the agent's processes: %w", err)
	}
	if _, err := gone.wait(ctx); err != nil {
		return fmt.Errorf("kill the agent's processes: %w", err)
	}
	return nil
}

// Close kills every process of the agent and ends the supervisor. Commands that run end as killed; later ones fail
// with ErrGone. It is idempotent, and returns an error if the supervisor did not end within 10 seconds: then a process
// is left that even SIGKILL cannot end for now.
func (a *Agent) Close() error {
	a.closing.Do(func() {
		_ = a.wire.conn.CloseWrite() // the supervisor takes it as the worker's end
		deadline := time.NewTimer(closeTimeout)
		defer deadline.Stop()
		select {
		case <-a.ended:
		case <-deadline.C:
			_ = a.supervisor.Process.Kill()
			a.closeErr = fmt.Errorf("close the agent: processes are left after %v", closeTimeout)
		}
	})
	return a.closeErr
}

// send sends a request. Any failure means that nobody is there.
func (a *Agent) send(f frame) error {
	err := a.wire.send(f)
	if err == nil || errors.Is(err, syscall.E2BIG) {
		return err
	}
	return ErrGone
}
