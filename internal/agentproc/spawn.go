package agentproc

import (
	"errors"
	"os"
	"strconv"
	"strings"
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

// offerChildren makes the children that are forked until restore is called those that the kernel kills first when memory
// runs out: the worker has to live, to save what was done. Where this process may not, the kernel decides by size.
func offerChildren() (restore func()) {
	const file, more, most = "/proc/self/oom_score_adj", 500, 1000
	own, err := os.ReadFile(file)
	if err != nil {
		return func() {}
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(own)))
	if err != nil || os.WriteFile(file, []byte(strconv.Itoa(min(score+more, most))), 0) != nil {
		return func() {}
	}
	return func() { _ = os.WriteFile(file, own, 0) }
}

func (s *supervisor) fork(f frame) (pid int, err error) {
	if f.Spawn == nil || len(f.fds) < 3 {
		return 0, syscall.EINVAL
	}
	defer offerChildren()()
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
