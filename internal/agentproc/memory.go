package agentproc

import (
	"errors"
	"syscall"
)

// ErrOutOfMemory is what an *ExitError is whose command, or a part of it, the kernel killed because memory ran out.
var ErrOutOfMemory = errors.New("memory ran out")

// ownMemoryEvents are the files in which the kernel may count the processes that it killed for want of memory.
func ownMemoryEvents() []string {
	return ownCounters("memory", "memory.events", "memory.oom_control")
}

// oomKills reads that count.
func oomKills(files []string) int { return counted(files, "oom_kill") }

// killedHard reports whether a command died of SIGKILL, or says, as a shell does, that a part of it did.
func killedHard(status syscall.WaitStatus) bool {
	const byShell = 128 + int(syscall.SIGKILL)
	return (status.Signaled() && status.Signal() == syscall.SIGKILL) || status.ExitStatus() == byShell
}
