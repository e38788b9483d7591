package agentproc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// proc is one process as /proc tells it.
type proc struct {
	pid, parent, session int
	start                uint64 // in clock ticks since boot; with the pid it names a process for certain
	dead                 bool   // a zombie with no thread left
}

// table is the processes of this PID namespace by their parent.
type table map[int][]proc

// readTable looks at every process once. It is no instant: what forks meanwhile may be missed.
func readTable() (table, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	t := table{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := readProc(pid); err == nil { // else it has ended since
			t[p.parent] = append(t[p.parent], p)
		}
	}
	return t, nil
}

// readProc reads /proc/<pid>/stat.
func readProc(pid int) (proc, error) {
	raw, err := readStat(pid)
	if err != nil {
		return proc{}, err
	}
	// The second field is the program's name in parentheses, which may hold blanks and parentheses itself.
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 20 {
		return proc{}, fmt.Errorf("read /proc/%d/stat: %d fields", pid, len(fields))
	}
	number := func(field int) int { // as numbered by proc(5), the state being 3
		n, _ := strconv.Atoi(string(fields[field-3]))
		return n
	}
	state, threads := fields[0][0], number(20)
	return proc{
		pid: pid, parent: number(4), session: number(6), start: uint64(number(22)),
		dead: (state == 'Z' || state == 'X') && threads < 2, // a leader may end before its threads
	}, nil
}

// readStat does without os.ReadFile's registering with the poller: it is what a look at /proc spends its time on.
func readStat(pid int) ([]byte, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer closeAll([]int{fd})
	buf := make([]byte, 1024)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// killRound looks at /proc once and kills what is to be killed; it returns how many that were.
func (s *supervisor) killRound() int {
	t, err := readTable()
	if err != nil {
		return 1 // no look, no statement
	}
	killed := 0
	for _, p := range s.victims(t) {
		if !p.dead {
			kill(p)
			killed++
		}
	}
	return killed
}

// victims returns the processes to kill: with their descendants, the commands that are ending and the orphans that are theirs.
func (s *supervisor) victims(t table) []proc {
	var out []proc
	for _, p := range t[os.Getpid()] {
		if s.condemned(p) {
			out = t.append(out, p)
		}
	}
	return out
}

func (t table) append(to []proc, p proc) []proc {
	to = append(to, p)
	for _, child := range t[p.pid] {
		to = t.append(to, child)
	}
	return to
}

// condemned tells whether a child of this process is to be killed. A command is when it is ending. An orphan has lost
// the link to the command it came from; it goes with the command whose session it is in, and if it made its own
// session, as soon as no running command is left that is old enough to have started it. (Several commands may run
// at a time, and the background process of one must not end with another.)
func (s *supervisor) condemned(p proc) bool {
	if s.killingAll() {
		return true
	}
	suspect := false
	for _, c := range s.commands {
		if (c.pid == p.pid && !c.exited) || c.pid == p.session {
			return c.ending
		}
		if !c.helper && !c.ending && c.start <= p.start {
			suspect = true
		}
	}
	return !suspect
}

// kill sends SIGKILL to the process that was seen, not to one that has got its number since.
func kill(p proc) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // an old kernel, an old seccomp profile
		_ = unix.Kill(p.pid, unix.SIGKILL)
		return
	}
	if err != nil {
		return
	}
	defer closeAll([]int{fd})
	if now, err := readProc(p.pid); err == nil && now.start == p.start {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}
