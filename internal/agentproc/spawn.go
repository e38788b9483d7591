package agentproc

import (
	"errors"
	"syscall"
)

// spawn starts a command and tells how that went. The command gets its own session and exactly the descriptors
// that came with the request, in their order from 0.
func (s *supervisor) spawn(f frame) {
	defer closeAll(f.fds)
	started := frame{Op: opStarted, ID: f.ID}
	pid, err := s.fork(f)
	if err != nil {
		var errno syscall.Errno
		if !errors.As(err, &errno) {
			errno = syscall.EINVAL // a NUL in an argument
		}
		started.Errno = int(errno)
		s.tell(started)
		return
	}
	c := &command{pid: pid, helper: f.Spawn.Helper}
	if p, err := readProc(pid); err == nil {
		c.start = p.start
	}
	s.commands[f.ID] = c
	s.childless = false
	s.tell(started)
}

func (s *supervisor) fork(f frame) (pid int, err error) {
	if f.Spawn == nil || len(f.fds) < 3 {
		return 0, syscall.EINVAL
	}
	files := make([]uintptr, len(f.fds))
	for i, fd := range f.fds {
		files[i] = uintptr(fd)
	}
	sys := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if s.uid != noUID {
		sys.Credential = &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}
	}
	return syscall.ForkExec(string(f.Spawn.Path), texts(f.Spawn.Args), &syscall.ProcAttr{
		Dir: string(f.Spawn.Dir), Env: texts(f.Spawn.Env), Files: files, Sys: sys,
	})
}

func texts(raw [][]byte) []string {
	out := make([]string, len(raw))
	for i, b := range raw {
		out[i] = string(b)
	}
	return out
}

func raw(texts []string) [][]byte {
	out := make([][]byte, len(texts))
	for i, t := range texts {
		out[i] = []byte(t)
	}
	return out
}
