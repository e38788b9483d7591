package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// metricsURL is where a worker says that it serves its metrics.
func metricsURL(t *testing.T, p *proc) string {
	t.Helper()
	for line := range strings.Lines(p.logs.String()) {
		var entry struct{ Message, Addr string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Message == "serving metrics" {
			return "http://" + entry.Addr + "/metrics"
		}
	}
	t.Fatalf("no metrics:\n%s", p.logs)
	return ""
}

// scrape reads every sample, by its name and labels.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %d %v", res.StatusCode, err)
	}
	samples := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			samples[name] = v
		}
	}
	return samples
}

// TestMetricsOfARealJob scrapes a worker before, in and after its job. It stays until the end has been seen.
func TestMetricsOfARealJob(t *testing.T) {
	_, repoURL := startGit(t)
	base := with(env(t), "METRICS_ADDR", "127.0.0.1:0", "METRICS_LINGER", "1m")
	p := startWorker(t, base)
	url := metricsURL(t, p)
	const jobs = `aicw_jobs_total{code="ok",outcome="completed"}`
	if idle := scrape(t, url); idle[`aicw_slot{state="idle"}`] != 1 || idle[jobs] != 0 || len(idle) < 100 {
		t.Errorf("an idle worker: %v", idle)
	}
	s := p.post(script("echo working; sleep 1; head -c 100000 /dev/urandom > big.bin", "github", github(repoURL), "websiteSessionId", "canary"))
	s.until(says("working"))
	if busy := scrape(t, url); busy[`aicw_slot{state="busy"}`] != 1 || busy[`aicw_slot{state="idle"}`] != 0 || busy[`aicw_phase_duration_seconds_count{code="ok",phase="clone"}`] != 1 {
		t.Errorf("a busy worker: %v", busy)
	}
	s.completed()
	select {
	case <-p.done:
		t.Fatal("the worker did not wait for a scrape")
	case <-time.After(500 * time.Millisecond):
	}
	var after map[string]float64
	waitFor(t, "the job in the metrics", func() bool {
		after = scrape(t, url)
		return after[jobs] == 1
	})
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	for _, phase := range []string{"start", "restore", "clone", "assist", "commit", "save", "push", "finish"} {
		if got := after[`aicw_phase_duration_seconds_count{code="ok",phase="`+phase+`"}`]; got != 1 {
			t.Errorf("phase %s: %v", phase, got)
		}
	}
	events := make(map[string]float64)
	for _, kind := range s.types() {
		events[`aicw_events_total{type="`+kind+`"}`]++
	}
	for name, want := range events {
		if after[name] != want {
			t.Errorf("%s = %v, the stream had %v", name, after[name], want)
		}
	}
	if saved := after[`aicw_snapshot_bytes_total{direction="saved"}`]; saved < 100000 {
		t.Errorf("%v bytes saved", saved)
	}
	for name := range after {
		if strings.Contains(name, "canary") {
			t.Errorf("a session is in %s", name)
		}
	}
	resumed := startWorker(t, with(base, "METRICS_LINGER", "1ms"))
	url = metricsURL(t, resumed)
	s = resumed.post(script("echo working; sleep 1; exit 3", "github", github(repoURL), "websiteSessionId", "canary"))
	s.until(says("working"))
	if restored := scrape(t, url)[`aicw_snapshot_bytes_total{direction="restored"}`]; restored != after[`aicw_snapshot_bytes_total{direction="saved"}`] {
		t.Errorf("%v bytes restored", restored)
	}
	s.failed("provider_error")
	resumed.exited() // nobody comes to scrape
}

// TestMetricsLingerEndsWithTheWorker tells a worker to stop while it waits for a scrape.
func TestMetricsLingerEndsWithTheWorker(t *testing.T) {
	p := startWorker(t, with(env(t), "METRICS_ADDR", "127.0.0.1:0", "METRICS_LINGER", "1h"))
	p.post(script("true")).completed()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
