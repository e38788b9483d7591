package agentproc

import (
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"
)

const cgroups = "/sys/fs/cgroup"

// ownCounters returns the files in which the kernel may count what a controller did to this process's cgroup, which are called
// differently in cgroups of version 2 and 1. A container that sees its own cgroup as the root has them where the last ones say.
func ownCounters(controller, two, one string) []string {
	table, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	return counters(string(table), controller, two, one)
}

func counters(table, controller, two, one string) []string {
	var first, last []string
	for line := range strings.Lines(table) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		switch controllers := fields[1]; {
		case controllers == "": // version 2
			first = append(first, path.Join(cgroups, fields[2], two))
			last = append(last, path.Join(cgroups, two))
		case strings.Contains(","+controllers+",", ","+controller+","):
			first = append(first, path.Join(cgroups, controller, fields[2], one))
			last = append(last, path.Join(cgroups, controller, one))
		}
	}
	return append(first, last...)
}

// counted reads a count from the first of the files that has it; 0 where none has.
func counted(files []string, name string) int {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(data) {
			if count, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte(name+" ")); ok {
				n, _ := strconv.Atoi(string(count))
				return n
			}
		}
	}
	return 0
}

// ownProcessEvents are the files in which the kernel may count the processes that it did not start.
func ownProcessEvents() []string { return ownCounters("pids", "pids.events", "pids.events") }

// RefusedProcesses is how often the kernel has refused to start a process because the worker's cgroup had as many as it may;
// 0 where nobody counts.
func (a *Agent) RefusedProcesses() int { return counted(a.cfg.ProcessEvents, "max") }
