package agentproc

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socketFD is where the supervisor finds its end of the socket.
const socketFD = 3

// supervisor is the process between the worker and the agent's processes. It keeps the worker's uid, so that they
// cannot touch it; it is their sub-reaper, so that none gets away from it; and it ends with them when the worker does.
// It knows no secret: those pass by it in pipes. Everything but reading the socket happens in one goroutine.
type supervisor struct {
	wire      *wire
	uid       int // what commands run under; noUID: as this process
	commands  map[uint64]*command
	killAlls  []uint64 // open requests
	dying     bool     // the worker is gone
	childless bool     // as of the last reap
	clean     int      // looks at /proc in a row that found nothing to kill
	rounds    int      // looks at /proc since there last was nothing to do
}

// command is one that was started and whose end has not been told yet.
type command struct {
	pid    int
	start  uint64 // in the kernel's clock ticks
	helper bool   // the worker's own code, which leaves no processes behind
	ending bool   // its tree is to be killed
	exited bool   // its main process is reaped: pid may be another's by now
	status syscall.WaitStatus
}

const noUID = -1

// supervise is the supervisor's main function; it returns the exit status.
func supervise(args []string) int {
	runtime.LockOSThread() // the thread that forks: what is set for a thread, and its children's death signal, go by it
	w, err := newWire(socketFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s := &supervisor{wire: w, uid: noUID, commands: map[uint64]*command{}}
	ready := frame{Op: opReady}
	if err := s.prepare(args); err != nil {
		ready.Error = err.Error()
	}
	if err := w.send(ready); err != nil || ready.Error != "" {
		return 1
	}
	s.run()
	return 0
}

// prepare makes this process what a supervisor has to be, and what its children inherit.
func (s *supervisor) prepare(args []string) error {
	if len(args) == 1 {
		uid, err := strconv.Atoi(args[0])
		if err != nil {
			return fmt.Errorf("read the agent's uid: %w", err)
		}
		s.uid = uid
	}
	if err := closeOnExec(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the sub-reaper: %w", err)
	}
	if err := DenyInspection(); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	unix.Umask(0o022)
	// Without it a program with another user's rights could be started, which this process may not kill.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	return nil
}

// closeOnExec keeps every descriptor from the children, those that the worker was started with included.
func closeOnExec() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list the open files: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// DenyInspection forbids other processes of the same user to read this one's memory, environment and open files
// through /proc, to trace it, and to have it dump core. It holds for the process until it executes another program.
func DenyInspection() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid inspection of the process: %w", err)
	}
	return nil
}

// run serves the worker until it is gone and every process of the tree with it.
func (s *supervisor) run() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	// Caught rather than ignored, as children inherit what is ignored: the end of this process is the socket's.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	requests := make(chan frame)
	go s.listen(requests)
	for !s.dying || !s.childless {
		select {
		case f, ok := <-requests:
			if !ok {
				requests = nil
				s.dying = true
			} else {
				s.handle(f)
			}
		case <-children:
		case <-s.nextRound():
		}
		s.reap()
		s.sweep()
	}
}

func (s *supervisor) listen(requests chan<- frame) {
	defer close(requests)
	for {
		f, err := s.wire.receive()
		if err != nil {
			return
		}
		requests <- f
	}
}

func (s *supervisor) handle(f frame) {
	switch f.Op {
	case opSpawn:
		s.spawn(f)
	case opTerminate:
		if c := s.commands[f.ID]; c != nil && !c.exited {
			_ = unix.Kill(-c.pid, unix.SIGTERM)
		}
	case opKill:
		if c := s.commands[f.ID]; c != nil {
			c.ending = true
		}
	case opKillAll:
		s.killAlls = append(s.killAlls, f.ID)
	case opConfine:
		s.confine(f)
	default:
		closeAll(f.fds)
	}
	s.clean = 0
}

// tell sends a frame to the worker. A worker that is gone is noticed by listen.
func (s *supervisor) tell(f frame) { _ = s.wire.send(f) }

// reap collects every child that has ended: commands, and orphans that came here.
func (s *supervisor) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG|unix.WALL, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || pid == 0:
			s.childless = err != nil // ECHILD
			return
		default:
			s.exited(pid, status)
		}
	}
}

func (s *supervisor) exited(pid int, status syscall.WaitStatus) {
	for _, c := range s.commands {
		if c.pid == pid && !c.exited {
			c.exited, c.ending, c.status = true, true, status
			s.clean = 0
		}
	}
}

// sweep kills what is to be killed and tells the worker what is gone.
func (s *supervisor) sweep() {
	if !s.busy() {
		s.rounds = 0
		return
	}
	if !s.childless {
		s.rounds++
		if s.killRound() > 0 {
			s.clean = 0
			return
		}
		s.clean++
	}
	if s.childless {
		s.answerKillAlls()
	}
	// One look can miss a process that was forked behind it; the parent of such a one was seen alive then, or is gone now.
	if s.childless || s.clean > 1 {
		s.tellExits()
	}
}

func (s *supervisor) busy() bool {
	if s.killingAll() {
		return true
	}
	for _, c := range s.commands {
		if c.ending {
			return true
		}
	}
	return false
}

func (s *supervisor) killingAll() bool { return s.dying || len(s.killAlls) > 0 }

func (s *supervisor) tellExits() {
	for id, c := range s.commands {
		if c.exited {
			delete(s.commands, id)
			s.tell(frame{Op: opExited, ID: id, Status: uint32(c.status)})
		}
	}
}

func (s *supervisor) answerKillAlls() {
	s.tellExits()
	for _, id := range s.killAlls {
		s.tell(frame{Op: opKilledAll, ID: id})
	}
	s.killAlls = nil
}

// nextRound returns when to look again although nothing was reported: what was killed may have forked before.
func (s *supervisor) nextRound() <-chan time.Time {
	switch {
	case !s.busy():
		return nil
	case s.clean > 0 && s.clean < 2:
		return time.After(0)
	case s.rounds > 500: // held by the kernel: a process in uninterruptible sleep dies when that ends
		return time.After(50 * time.Millisecond)
	default:
		return time.After(time.Millisecond)
	}
}
