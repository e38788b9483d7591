package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// family is a process and all its descendants, each with the time of its start, by which it is known for certain.
func family(t testing.TB, pid int) map[int]string {
	t.Helper()
	children := map[int][]int{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		if fields := statOf(path); fields != nil {
			parent, _ := strconv.Atoi(fields[1])
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			children[parent] = append(children[parent], child)
		}
	}
	found := map[int]string{}
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		if start := startOf(next[0]); start != "" {
			found[next[0]] = start
			next = append(next, children[next[0]]...)
		}
	}
	return found
}

// startOf is when a process began; empty: it is gone, or dead.
func startOf(pid int) string {
	fields := statOf("/proc/" + strconv.Itoa(pid) + "/stat")
	if fields == nil || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fields[19]
}

// statOf are the fields of /proc/<pid>/stat behind the program's name, from the state on.
func statOf(path string) []string {
	stat, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
}

// gone waits until none of these processes is left.
func gone(t testing.TB, processes map[int]string) {
	t.Helper()
	waitFor(t, "no process is left of the worker", func() bool {
		for pid, start := range processes {
			if startOf(pid) == start {
				return false
			}
		}
		return true
	})
}

// signalAll sends a signal to those of the processes that are still there.
func signalAll(processes map[int]string, sig syscall.Signal) {
	for pid, start := range processes {
		if startOf(pid) == start {
			_ = syscall.Kill(pid, sig)
		}
	}
}
