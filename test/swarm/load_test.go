//go:build swarm

package swarm_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
)

// TestFortyJobs gives forty jobs at once to eight workers: all are done, each in a container of its own, by the real CLI.
func TestFortyJobs(t *testing.T) {
	const jobs = 40
	fleet.model.Answer(func(r modeltest.Request) modeltest.Turn {
		if len(r.Results()) > 0 {
			return modeltest.Turn{Text: "Done."}
		}
		return modeltest.Turn{Text: "I write.", Calls: []modeltest.Call{modeltest.Bash("hostname > proof.txt; echo proof.txt is written")}}
	})
	repository(t, "load/site")
	scaled(t, 8)
	begun := time.Now()
	var all []*job
	for i := range jobs {
		all = append(all, start(t, "", fmt.Sprintf("Write proof %d", i), "--provider", "claude-code", "--repo", fleet.git.CloneURL("load/site")))
	}
	var seen []string
	for _, j := range all {
		last := j.completed()
		if got := strings.TrimSpace(committed(t, "load/site", last, "proof.txt")); got != j.container() {
			t.Errorf("the branch was written by %q, the job ran in %q", got, j.container())
		}
		seen = append(seen, j.container())
	}
	took := time.Since(begun)
	slices.Sort(seen)
	if n := len(slices.Compact(seen)); n != jobs {
		t.Errorf("%d containers for %d jobs", n, jobs)
	}
	t.Logf("%d jobs by claude-code on 8 workers: %.0f s, %.1f jobs a minute", jobs, took.Seconds(), jobs/took.Minutes())
}

// TestCodex runs a job by the other assistant of the image.
func TestCodex(t *testing.T) {
	fleet.model.Answer(func(r modeltest.Request) modeltest.Turn {
		if len(r.Results()) > 0 {
			return modeltest.Turn{Text: "Done."}
		}
		return modeltest.Turn{Calls: []modeltest.Call{modeltest.Exec("echo codex > proof.txt")}}
	})
	repository(t, "load/codex")
	t.Setenv("AICW_AUTH", modelKey)
	last := start(t, "", "Write a proof", "--provider", "codex", "--repo", fleet.git.CloneURL("load/codex")).completed()
	if got := committed(t, "load/codex", last, "proof.txt"); got != "codex" {
		t.Errorf("proof.txt: %q", got)
	}
}

// TestTurnaround measures how long a slot takes from the end of one job to the beginning of the next, with one worker.
func TestTurnaround(t *testing.T) {
	scaled(t, 1)
	var all []*job
	for range 6 {
		all = append(all, start(t, "", "sleep 5"))
	}
	for _, j := range all {
		j.completed()
	}
	slices.SortFunc(all, func(a, b *job) int { return a.at("connected").Compare(b.at("connected")) })
	var gaps []time.Duration
	for i, j := range all[1:] {
		gaps = append(gaps, j.at("connected").Sub(all[i].at("completed")))
	}
	slices.Sort(gaps)
	t.Logf("slot turnaround of %d jobs: median %d ms, %v", len(all), gaps[len(gaps)/2].Milliseconds(), gaps)
	if gaps[0] < 0 {
		t.Errorf("two jobs ran at once on one worker: %v", gaps)
	}
}

// TestReadingWhileAllRestart: what is not a job finds a worker even while all are between two jobs.
func TestReadingWhileAllRestart(t *testing.T) {
	scaled(t, 1)
	start(t, "", "true").completed()
	if status, _ := get(t, "/sessions"); status != 200 {
		t.Errorf("GET /sessions while the only worker starts again: %d", status)
	}
}

// drip is a body that takes its time.
type drip struct {
	io.Reader
	reads int
	begun chan struct{} // closed once its beginning is sent
}

func (d *drip) Read(p []byte) (int, error) {
	if d.reads++; d.reads == 2 {
		close(d.begun)
	}
	time.Sleep(100 * time.Millisecond)
	return d.Reader.Read(p[:min(len(p), 32<<10)])
}

// TestSlowSender: a job that takes seconds to send keeps the worker that it was given.
func TestSlowSender(t *testing.T) {
	scaled(t, 1)
	request := `{"codingAssistantProvider":"script","userRequest":"echo slow # ` + strings.Repeat("x", 2<<20) + `"}`
	body := &drip{Reader: strings.NewReader(request), begun: make(chan struct{})}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front+"/execute", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(request))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+apiKey)
	answer := make(chan string, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		stream, _ := io.ReadAll(res.Body)
		answer <- res.Status + "\n" + string(stream)
	}()
	<-body.begun
	start(t, "", "true").completed()
	if got := <-answer; !strings.Contains(got, `"type":"completed"`) {
		t.Errorf("the slow one: %.500s", got)
	}
}
