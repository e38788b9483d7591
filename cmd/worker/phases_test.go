package main

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// afterTheEnd is where a fault hits a job all of whose phases are over.
const afterTheEnd = "after"

// phases are those of a worker's job, as its log tells them.
type phases struct {
	p *proc

	mu    sync.Mutex
	ended map[string]time.Duration // how long they took
	moved chan struct{}            // closed when another one has ended
}

// watchPhases begins before the worker has a job.
func watchPhases(p *proc) *phases {
	w := &phases{p: p, ended: map[string]time.Duration{}, moved: make(chan struct{})}
	p.logs.mu.Lock()
	defer p.logs.mu.Unlock()
	p.logs.watch = w.read
	return w
}

func (w *phases) read(line []byte) {
	var entry struct {
		Message, Phase string
		Took           float64 // milliseconds
	}
	if json.Unmarshal(line, &entry) != nil || entry.Message != "phase ended" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended[entry.Phase] = time.Duration(entry.Took * float64(time.Millisecond))
	close(w.moved)
	w.moved = make(chan struct{})
}

// over are the phases that have ended.
func (w *phases) over() map[string]time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.ended)
}

// phase is the one that the job is in; moved is closed when it is over.
func (w *phases) phase() (name string, moved <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append(orchestrator.Phases(), afterTheEnd)
	for i, phase := range slices.Backward(orchestrator.Phases()) {
		if _, ended := w.ended[phase]; ended {
			return all[i+1], w.moved
		}
	}
	return all[0], w.moved
}

// hit is the phase that the job is in.
func (w *phases) hit() string {
	phase, _ := w.phase()
	return phase
}

// await waits for a moment, or for the end of a job that does not come to it.
func (w *phases) await(m moment) {
	w.p.t.Helper()
	deadline := time.After(time.Minute)
	for all := orchestrator.Phases(); ; {
		now, moved := w.phase()
		if i := slices.Index(all, now); i < 0 || i >= slices.Index(all, m.phase) {
			break
		}
		select {
		case <-moved:
		case <-w.p.done:
			return
		case <-deadline:
			w.p.t.Fatalf("the job does not come to %s\n%s", m.phase, w.p.logs)
		}
	}
	select {
	case <-time.After(m.after):
	case <-w.p.done:
	}
}
