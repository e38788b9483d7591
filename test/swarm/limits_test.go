//go:build swarm

package swarm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestGreedyAgents: an agent that takes all there is of something ends its own job, in words; the worker lives to tell, and the
// next job finds a worker.
func TestGreedyAgents(t *testing.T) {
	for _, greedy := range []struct{ name, script, code, words, notice string }{
		{"memory", `echo running; exec 2>&1; tail -c +1 /dev/zero | tail`, "out_of_memory", "memory ran out", ""},
		{"workspace full", `echo running; cat /dev/zero > full`, "internal_error", "disk of the workspaces is full", ""},
		{"fork bomb", `echo running; bomb() { bomb | bomb & }; bomb; sleep 8`, "", "", "as many processes as this worker may have"}, // which the job's own commands may not notice
	} {
		t.Run(greedy.name, func(t *testing.T) {
			scaled(t, 1)
			name := "greedy/" + strings.ReplaceAll(greedy.name, " ", "-")
			repository(t, name)
			j := start(t, "", greedy.script, "--repo", fleet.git.CloneURL(name)).until("running")
			worker := container(t, j)
			last := j.end()
			t.Logf("%s: %v", greedy.name, last)
			if words := fmt.Sprint(last["error"]); greedy.code != "" && last["code"] != greedy.code || !strings.Contains(words, greedy.words) {
				t.Errorf("want the code %s and %q:\n%s", greedy.code, greedy.words, j)
			}
			if !strings.Contains(j.String(), greedy.notice) {
				t.Errorf("%q is not said:\n%s", greedy.notice, j)
			}
			if n := strings.Count(j.String(), `"type":"connected"`); n != 1 || last["code"] == "worker_lost" {
				t.Errorf("the worker did not tell the end itself:\n%s", j)
			}
			// Looked at before another job's end: Swarm may keep no more than one ended task of a slot.
			eventually(t, "its worker has ended", time.Minute, func() bool { return state(t, worker) == "exited" })
			if status := docker(t, "inspect", "--format", "{{.State.ExitCode}}", worker); status != "0" {
				t.Errorf("the worker's exit: %s", status)
			}
			start(t, "", "true").completed()
		})
	}
}

// TestHogOfAllCPUs: a worker whose agent takes all of its CPU time answers nevertheless.
func TestHogOfAllCPUs(t *testing.T) {
	scaled(t, 1)
	j := start(t, "", `echo running; for i in $(seq 60); do (while :; do :; done) & done; sleep 15; echo enough`).until("running")
	for range 5 {
		if status, _ := get(t, "/status"); status != 429 {
			t.Errorf("GET /status: %d", status)
		}
	}
	j.completed()
}
