package agentproc

import (
	"io"
	"os"
	"sync"
	"syscall"
)

// Process is a command that runs. Its methods may be called from several goroutines.
type Process struct {
	agent  *Agent
	name   string
	id     uint64
	stdin  *os.File // nil: none
	stdout *output  // nil: none

	exited chan struct{} // closed when the command and its tree are gone
	done   chan struct{} // closed when err says how it ended
	err    error

	mu     sync.Mutex
	cause  error // why the worker ended it
	killed bool  // by the worker

	oomKills int // the kernel's, before the command began
}

func newProcess(a *Agent, name string, id uint64, call *call, ends *pipes, oomKills int) *Process {
	p := &Process{
		agent: a, name: name, id: id, stdin: ends.stdin, exited: make(chan struct{}), done: make(chan struct{}), oomKills: oomKills,
	}
	if ends.stdout != nil {
		p.stdout = &output{file: ends.stdout}
	}
	stderr := &output{file: ends.stderr}
	tail := make(chan string, 1)
	go func() {
		defer stderr.file.Close()
		tail <- readTail(stderr, a.cfg.Scrubber)
	}()
	go func() {
		defer close(p.done)
		f, err := call.last()
		close(p.exited)
		p.release(stderr)
		text := <-tail
		if p.err = err; err == nil {
			status := syscall.WaitStatus(f.Status)
			p.err = exitError(p.name, status, p.ranOutOfMemory(status), text)
		}
	}()
	return p
}

// ranOutOfMemory reports whether the kernel has killed for want of memory since the command began, and that explains its end.
func (p *Process) ranOutOfMemory(status syscall.WaitStatus) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.killed && killedHard(status) && oomKills(p.agent.cfg.MemoryEvents) > p.oomKills
}

// release lets go those who read from the command or write to it.
func (p *Process) release(stderr *output) {
	stderr.end()
	if p.stdout != nil {
		p.stdout.end()
	}
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
}

// Stdin returns the writer of the command's standard input. Once the command has ended, a Write fails, also one
// that was under way. Close gives the command an end of file; closing twice is an error without effect.
func (p *Process) Stdin() io.WriteCloser { return p.stdin }

// Terminate sends SIGTERM to the command's process group: a request, which the command may ignore.
func (p *Process) Terminate() { _ = p.agent.send(frame{Op: opTerminate, ID: p.id}) }

// Kill kills the command and every process that came from it. It does not wait; see Wait.
func (p *Process) Kill() {
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	_ = p.agent.send(frame{Op: opKill, ID: p.id})
}

// Wait returns when the command has ended, its tree is gone (see [Cmd.Run] for the limits) and its standard error is
// read; it may be called at any time and repeatedly. Output that Lines has not read yet is kept for it.
// Another exit status than 0 is an *ExitError; ErrGone means that the supervisor ended before it could tell.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// fail kills the command for a reason, which Run then returns. The first one counts.
func (p *Process) fail(cause error) {
	p.mu.Lock()
	if p.cause == nil {
		p.cause = cause
	}
	p.mu.Unlock()
	p.Kill()
}

// abort is fail for reasons that do not matter to a command that has ended.
func (p *Process) abort(cause error) {
	select {
	case <-p.exited:
	default:
		p.fail(cause)
	}
}

func (p *Process) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}
