// Package metrics counts what a worker does, for Prometheus: it observes the jobs, and answers scrapes at an address of its
// own. No label comes from a request or an agent, and no number tells one session from another.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/localpeer"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// Config says what the labels can be, so that every series is there, at zero, before the first job. A worker runs one:
// a counter that came to be with it would never have been seen to rise.
type Config struct {
	Version   string
	Providers []string // canonical names
	States    []string // of the slot
	Slot      func() string
	Guard     *localpeer.Guard // says whose scrapes Serve refuses; nil: nobody's
}

// Metrics is the registry of one worker. It is an orchestrator.Observer, and safe for concurrent use.
type Metrics struct {
	guard    *localpeer.Guard
	registry *prometheus.Registry
	scrapes  *scrapes

	jobs     *prometheus.CounterVec
	lengths  *prometheus.HistogramVec
	phases   *prometheus.HistogramVec
	events   *prometheus.CounterVec
	snapshot *prometheus.CounterVec
	tokens   *prometheus.CounterVec
	cost     *prometheus.CounterVec
}

// The directions of the bytes of snapshots, and of tokens.
const (
	saved    = "saved"
	restored = "restored"
	input    = "input"
	output   = "output"
)

// succeeded is the code of what did not fail: a label that is empty is one that is not there.
const succeeded = "ok"

// seconds reach from a phase with nothing to do to the longest jobs.
var seconds = []float64{.005, .025, .1, .5, 1, 2.5, 5, 10, 30, 60, 150, 300, 600, 1800, 3600}

// New makes the metrics of a worker. Config.Slot is first called by a scrape.
func New(cfg Config) *Metrics {
	m := &Metrics{
		guard:    cfg.Guard,
		registry: prometheus.NewRegistry(),
		scrapes:  newScrapes(),
		jobs:     counter("jobs_total", "jobs that ended, by outcome and code", "outcome", "code"),
		lengths:  histogram("job_duration_seconds", "how long jobs took, from their acceptance to their end", "outcome"),
		phases:   histogram("phase_duration_seconds", "how long the phases of jobs took, by the code of their failure", "phase", "code"),
		events:   counter("events_total", "events that jobs wrote, by type", "type"),
		snapshot: counter("snapshot_bytes_total", "bytes of files that were saved to storage and restored from it, before compression", "direction"),
		tokens:   counter("tokens_total", "tokens that the providers counted", "provider", "direction"),
		cost:     counter("cost_usd_total", "what the providers say that it cost, in US dollars", "provider"),
	}
	m.registry.MustRegister(
		m.jobs, m.lengths, m.phases, m.events, m.snapshot, m.tokens, m.cost,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		constant("build_info", "always 1; the label is the version", prometheus.Labels{"version": cfg.Version}),
	)
	for _, state := range cfg.States {
		m.registry.MustRegister(slot(cfg.Slot, state))
	}
	m.zero(cfg.Providers)
	return m
}

func opts(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: "aicw", Name: name, Help: help}
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "aicw", Name: name, Help: help, Buckets: seconds}, labels)
}

func constant(name, help string, labels prometheus.Labels) prometheus.Collector {
	o := prometheus.GaugeOpts(opts(name, help))
	o.ConstLabels = labels
	return prometheus.NewGaugeFunc(o, func() float64 { return 1 })
}

func slot(now func() string, state string) prometheus.Collector {
	o := prometheus.GaugeOpts(opts("slot", "1 for the state that the worker's one slot is in, else 0"))
	o.ConstLabels = prometheus.Labels{"state": state}
	return prometheus.NewGaugeFunc(o, func() float64 {
		if now() == state {
			return 1
		}
		return 0
	})
}

// zero makes every series that can come to be.
func (m *Metrics) zero(providers []string) {
	m.jobs.WithLabelValues(string(orchestrator.JobCompleted), succeeded)
	m.jobs.WithLabelValues(string(orchestrator.JobReplaced), string(event.WorkerLost))
	for _, outcome := range []orchestrator.Outcome{orchestrator.JobFailed, orchestrator.JobRefused} {
		for _, code := range orchestrator.Codes() {
			m.jobs.WithLabelValues(string(outcome), string(code))
		}
	}
	for _, outcome := range []orchestrator.Outcome{orchestrator.JobCompleted, orchestrator.JobFailed, orchestrator.JobRefused, orchestrator.JobReplaced} {
		m.lengths.WithLabelValues(string(outcome))
	}
	for _, phase := range orchestrator.Phases() {
		m.phases.WithLabelValues(phase, succeeded)
	}
	for _, eventType := range event.Types() {
		m.events.WithLabelValues(eventType)
	}
	for _, direction := range []string{saved, restored} {
		m.snapshot.WithLabelValues(direction)
	}
	for _, provider := range providers {
		m.tokens.WithLabelValues(provider, input)
		m.tokens.WithLabelValues(provider, output)
		m.cost.WithLabelValues(provider)
	}
}

// Watch implements orchestrator.Observer.
func (m *Metrics) Watch(job orchestrator.JobInfo) orchestrator.Watch { return watch{m, job.Provider} }

// watch counts one job.
type watch struct {
	*Metrics
	provider string
}

// Phase implements orchestrator.Watch.
func (w watch) Phase(p orchestrator.Phase) {
	w.phases.WithLabelValues(p.Name, label(p.Code)).Observe(p.Took.Seconds())
	w.snapshot.WithLabelValues(saved).Add(float64(p.Saved))
	w.snapshot.WithLabelValues(restored).Add(float64(p.Restored))
}

// Said implements orchestrator.Watch.
func (w watch) Said(eventType string) { w.events.WithLabelValues(eventType).Inc() }

// Ended implements orchestrator.Watch.
func (w watch) Ended(e orchestrator.End) {
	add(w.tokens.WithLabelValues(w.provider, input), float64(e.Usage.InputTokens))
	add(w.tokens.WithLabelValues(w.provider, output), float64(e.Usage.OutputTokens))
	add(w.cost.WithLabelValues(w.provider), e.Usage.CostUSD)
	w.lengths.WithLabelValues(string(e.Outcome)).Observe(e.Took.Seconds())
	w.jobs.WithLabelValues(string(e.Outcome), label(e.Code)).Inc()
	w.scrapes.changed()
}

// add leaves out what is no sum: an agent can make its assistant print any number, and a counter panics at a negative one.
func add(c prometheus.Counter, v float64) {
	if v > 0 {
		c.Add(v)
	}
}

func label(code event.Code) string {
	if code == "" {
		return succeeded
	}
	return string(code)
}
