package agentproc

import (
	"bytes"
	"errors"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// ErrOutOfMemory is what an *ExitError is whose command, or a part of it, the kernel killed because memory ran out.
var ErrOutOfMemory = errors.New("memory ran out")

const cgroups = "/sys/fs/cgroup"

// ownMemoryEvents returns the files in which the kernel may count the processes of this process's cgroup that it killed
// for want of memory. A container that sees its own cgroup as the root has them where the last ones say.
func ownMemoryEvents() []string {
	table, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	return memoryEvents(string(table))
}

func memoryEvents(table string) []string {
	var first, last []string
	for line := range strings.Lines(table) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		switch controllers := fields[1]; {
		case controllers == "": // version 2
			first = append(first, path.Join(cgroups, fields[2], "memory.events"))
			last = append(last, path.Join(cgroups, "memory.events"))
		case strings.Contains(","+controllers+",", ",memory,"):
			first = append(first, path.Join(cgroups, "memory", fields[2], "memory.oom_control"))
			last = append(last, path.Join(cgroups, "memory", "memory.oom_control"))
		}
	}
	return append(first, last...)
}

// oomKills reads the count from the first of the files that has one; 0 where none has.
func oomKills(files []string) int {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(data) {
			if count, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("oom_kill ")); ok {
				n, _ := strconv.Atoi(string(count))
				return n
			}
		}
	}
	return 0
}

// killedHard reports whether a command died of SIGKILL, or says, as a shell does, that a part of it did.
func killedHard(status syscall.WaitStatus) bool {
	const byShell = 128 + int(syscall.SIGKILL)
	return (status.Signaled() && status.Signal() == syscall.SIGKILL) || status.ExitStatus() == byShell
}
