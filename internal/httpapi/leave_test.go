package httpapi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

func TestIdleWorkerLeaves(t *testing.T) {
	w := serve(t, config(t, newRunner(t), newSessions()))
	if a := w.do("POST", "/shutdown", ""); a.status != 202 || a.body["status"] != "draining" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

// A busy worker that was asked to leave takes no other job, and lets its own take its time: StopGrace has not begun.
func TestBusyWorkerLeavesAfterItsJob(t *testing.T) {
	r := newRunner(t)
	cfg := config(t, r, newSessions())
	cfg.StopGrace = 200 * time.Millisecond
	w := serve(t, cfg)
	posted := make(chan *stream, 1)
	go func() { posted <- w.stream("POST", "/execute", minimal) }()
	run := r.next()
	log := run.begin("s", 1)
	s := <-posted
	for range 2 {
		if a := w.do("POST", "/shutdown", ""); a.status != 202 || a.body["sessionId"] != "s" {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
	if a := w.do("POST", "/execute", minimal); a.body["error"] != "shutting_down" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	select {
	case <-run.ctx.Done():
		t.Error("the job was stopped")
	case err := <-w.served:
		t.Fatalf("Serve() = %v before the job's end", err)
	case <-time.After(500 * time.Millisecond): // more than StopGrace
	}
	run.end(log, nil)
	if diff := cmp.Diff(ids(1, 1, 1), s.rest()); diff != "" {
		t.Error(diff)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

// A job that does not begin after all leaves the worker idle, and so it leaves.
func TestWorkerLeavesWhenItsJobDoesNotBegin(t *testing.T) {
	r := newRunner(t)
	w := serve(t, config(t, r, newSessions()))
	posted := make(chan answer, 1)
	go func() { posted <- w.do("POST", "/execute", minimal) }()
	run := r.next()
	w.do("POST", "/shutdown", "")
	run.result <- errors.New("no")
	if a := <-posted; a.status != 500 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}

func TestHurryStopsTheJob(t *testing.T) {
	r := newRunner(t)
	hurry := make(chan struct{})
	cfg := config(t, r, newSessions())
	cfg.StopGrace, cfg.Hurry = time.Hour, hurry
	w := serve(t, cfg)
	posted := make(chan *stream, 1)
	go func() { posted <- w.stream("POST", "/execute", minimal) }()
	run := r.next()
	log := run.begin("s", 1)
	s := <-posted
	w.stop()
	eventually(t, "draining", func() bool { return w.do("GET", "/status", "").status == 503 })
	if err := run.ctx.Err(); err != nil {
		t.Errorf("stopped too early: %v", err)
	}
	close(hurry)
	select {
	case <-run.ctx.Done():
	case <-time.After(patience):
		t.Fatal("the job was not stopped")
	}
	if cause := context.Cause(run.ctx); !errors.Is(cause, orchestrator.ErrShutdown) {
		t.Errorf("cause %v", cause)
	}
	run.end(log, nil)
	s.rest()
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}
