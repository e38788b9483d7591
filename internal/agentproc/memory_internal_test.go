package agentproc

import (
	"slices"
	"testing"
)

func TestMemoryEvents(t *testing.T) {
	for table, want := range map[string][]string{
		"0::/system.slice/docker-1.scope\n": {"/sys/fs/cgroup/system.slice/docker-1.scope/memory.events", "/sys/fs/cgroup/memory.events"},
		"5:cpu,cpuacct:/x\n4:memory:/docker/1\n": {
			"/sys/fs/cgroup/memory/docker/1/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control",
		},
		"3:hugetlb,memory:/a:b\n": {"/sys/fs/cgroup/memory/a:b/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"},
		"":                        nil,
	} {
		if got := counters(table, "memory", "memory.events", "memory.oom_control"); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", table, got, want)
		}
	}
}
