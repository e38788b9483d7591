package metrics_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/metrics"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

func newMetrics() *metrics.Metrics {
	return metrics.New(metrics.Config{
		Version: "v1", Providers: []string{"one", "two"}, States: []string{"idle", "busy"}, Slot: func() string { return "busy" },
	})
}

// scrape reads every sample of a worker's own, by its name and labels.
func scrape(t *testing.T, m *metrics.Metrics) map[string]float64 {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	samples := make(map[string]float64)
	for lines := bufio.NewScanner(w.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasPrefix(name, "aicw_") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		samples[name] = v
	}
	return samples
}

// A counter that came to be with a worker's only job would never have been seen to rise.
func TestEverySeriesIsThereBeforeTheFirstJob(t *testing.T) {
	m := newMetrics()
	before := scrape(t, m)
	for _, outcome := range []orchestrator.Outcome{orchestrator.JobFailed, orchestrator.JobRefused} {
		for _, code := range orchestrator.Codes() {
			m.Watch(orchestrator.JobInfo{Provider: "one"}).Ended(orchestrator.End{Outcome: outcome, Code: code})
		}
	}
	m.Watch(orchestrator.JobInfo{Provider: "one"}).Ended(orchestrator.End{Outcome: orchestrator.JobCompleted})
	m.Watch(orchestrator.JobInfo{Provider: "two"}).Ended(orchestrator.End{Outcome: orchestrator.JobReplaced, Code: event.WorkerLost})
	w := m.Watch(orchestrator.JobInfo{Provider: "two"})
	for _, name := range orchestrator.Phases() {
		w.Phase(orchestrator.Phase{Name: name, Saved: 1, Restored: 1})
	}
	for _, eventType := range event.Types() {
		w.Said(eventType)
	}
	after := scrape(t, m)
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s comes to be with a job", name)
		}
	}
	if len(after) < 100 {
		t.Errorf("only %d samples", len(after))
	}
}

func TestWhatAJobCounts(t *testing.T) {
	m := newMetrics()
	before := scrape(t, m)
	w := m.Watch(orchestrator.JobInfo{SessionID: "canary", RequestID: "canary", Provider: "two"})
	w.Said(event.TypeMessage)
	w.Said(event.TypeMessage)
	w.Phase(orchestrator.Phase{Name: "restore", Took: 20 * time.Millisecond, Restored: 700})
	w.Phase(orchestrator.Phase{Name: "save", Took: 40 * time.Second, Saved: 900})
	w.Phase(orchestrator.Phase{Name: "push", Took: time.Second, Code: event.PushRejected})
	w.Ended(orchestrator.End{
		Outcome: orchestrator.JobFailed, Code: event.PushRejected, Took: 2 * time.Minute,
		Usage: event.Usage{InputTokens: 1000, OutputTokens: 20, CostUSD: 0.25},
	})
	changed := map[string]float64{}
	for name, value := range scrape(t, m) {
		if strings.Contains(name, "canary") {
			t.Errorf("a session of its own: %s", name)
		}
		if value != before[name] && !strings.Contains(name, "_bucket{") {
			changed[name] = value - before[name]
		}
	}
	want := map[string]float64{
		`aicw_events_total{type="message"}`:                                    2,
		`aicw_phase_duration_seconds_count{code="ok",phase="restore"}`:         1,
		`aicw_phase_duration_seconds_sum{code="ok",phase="restore"}`:           0.02,
		`aicw_phase_duration_seconds_count{code="ok",phase="save"}`:            1,
		`aicw_phase_duration_seconds_sum{code="ok",phase="save"}`:              40,
		`aicw_phase_duration_seconds_count{code="push_rejected",phase="push"}`: 1,
		`aicw_phase_duration_seconds_sum{code="push_rejected",phase="push"}`:   1,
		`aicw_snapshot_bytes_total{direction="restored"}`:                      700,
		`aicw_snapshot_bytes_total{direction="saved"}`:                         900,
		`aicw_tokens_total{direction="input",provider="two"}`:                  1000,
		`aicw_tokens_total{direction="output",provider="two"}`:                 20,
		`aicw_cost_usd_total{provider="two"}`:                                  0.25,
		`aicw_job_duration_seconds_count{outcome="failed"}`:                    1,
		`aicw_job_duration_seconds_sum{outcome="failed"}`:                      120,
		`aicw_jobs_total{code="push_rejected",outcome="failed"}`:               1,
	}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("(-want +counted):\n%s", diff)
	}
	if before[`aicw_slot{state="busy"}`] != 1 || before[`aicw_slot{state="idle"}`] != 0 || before[`aicw_build_info{version="v1"}`] != 1 {
		t.Errorf("slot or version: %v", before)
	}
}

// What an agent makes its assistant print cannot end the worker.
func TestNonsensicalUsage(t *testing.T) {
	m := newMetrics()
	w := m.Watch(orchestrator.JobInfo{Provider: "one"})
	w.Ended(orchestrator.End{Outcome: orchestrator.JobCompleted, Usage: event.Usage{InputTokens: -1, OutputTokens: 1, CostUSD: -0.1}})
	if got := scrape(t, m)[`aicw_tokens_total{direction="output",provider="one"}`]; got != 1 {
		t.Errorf("%v tokens", got)
	}
}

func TestLinger(t *testing.T) {
	m := newMetrics()
	m.Linger(t.Context()) // nothing has happened
	m.Watch(orchestrator.JobInfo{Provider: "one"}).Ended(orchestrator.End{Outcome: orchestrator.JobCompleted})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	m.Linger(ctx)
	if ctx.Err() == nil {
		t.Error("nobody has seen the job, and Linger returned")
	}
	lingered := make(chan struct{})
	go func() {
		defer close(lingered)
		m.Linger(t.Context())
	}()
	scrape(t, m)
	select {
	case <-lingered:
	case <-time.After(10 * time.Second):
		t.Fatal("the job was seen, and Linger goes on")
	}
	m.Linger(t.Context())
}

// A scrape that had begun before the job ended may not have seen the end.
func TestScrapeThatBeganTooEarly(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	m := metrics.New(metrics.Config{States: []string{"idle"}, Slot: func() string { close(asked); <-answer; return "" }})
	scraped := make(chan struct{})
	go func() {
		defer close(scraped)
		scrape(t, m)
	}()
	<-asked
	m.Watch(orchestrator.JobInfo{Provider: "one"}).Ended(orchestrator.End{Outcome: orchestrator.JobCompleted})
	close(answer)
	<-scraped
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	m.Linger(ctx)
	if ctx.Err() == nil {
		t.Error("a scrape from before the end counted")
	}
}

func TestServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- newMetrics().Serve(ctx, ln) }()
	url := "http://" + ln.Addr().String()
	for path, want := range map[string]int{"/metrics": 200, "/": 404, "/debug/pprof/": 404} {
		res, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != want || want == 200 && !strings.Contains(string(body), "go_goroutines") {
			t.Errorf("%s: %d %.200s", path, res.StatusCode, body)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := newMetrics().Serve(t.Context(), ln); err == nil {
		t.Error("a closed listener is no error")
	}
}

// heldConn tells when an answer begins, and keeps it back until it is let go.
type heldConn struct {
	net.Conn
	begun chan<- struct{}
	let   <-chan struct{}
}

func (c heldConn) Write(p []byte) (int, error) {
	select {
	case c.begun <- struct{}{}:
	default:
	}
	<-c.let
	return c.Conn.Write(p)
}

type heldListener struct {
	net.Listener
	begun chan<- struct{}
	let   <-chan struct{}
}

func (l heldListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return heldConn{conn, l.begun, l.let}, err
}

// TestServeFinishesAnAnswer ends a server while the answer to a scrape is on its way.
func TestServeFinishesAnAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun, let := make(chan struct{}, 1), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- newMetrics().Serve(ctx, heldListener{ln, begun, let}) }()
	type answer struct {
		body string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		res, err := http.Get("http://" + ln.Addr().String() + "/metrics")
		if err != nil {
			answered <- answer{err: err}
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		answered <- answer{string(body), err}
	}()
	<-begun
	cancel()
	for refused := false; !refused; { // the server knows that it is to end
		conn, err := net.Dial("tcp", ln.Addr().String())
		if refused = err != nil; !refused {
			conn.Close()
		}
	}
	close(let)
	if got := <-answered; got.err != nil || !strings.Contains(got.body, "go_goroutines") {
		t.Errorf("the scrape: %v %.200s", got.err, got.body)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
