package worker

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// dog watches a server that answers while it is well.
func dog(t *testing.T, well, idle *atomic.Bool) watchdog {
	t.Helper()
	stuck := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if !well.Load() {
			select {
			case <-stuck:
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(stuck) })
	return watchdog{url: server.URL, every: 20 * time.Millisecond, patience: 5, idle: idle.Load}
}

func TestWatchdogBarksAtAnIdleWorkerThatDoesNotAnswer(t *testing.T) {
	var well, idle atomic.Bool
	idle.Store(true)
	if err := dog(t, &well, &idle).run(t.Context()); err == nil {
		t.Error("the watchdog was silent")
	}
}

// A busy worker is left alone however long it does not answer, and gets its whole patience when it is idle again.
func TestWatchdogLeavesABusyWorkerAlone(t *testing.T) {
	var well, idle atomic.Bool
	w := dog(t, &well, &idle)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := w.run(ctx); err != nil {
		t.Errorf("while it was busy: %v", err)
	}
}

func TestWatchdogIsSilentWhileTheWorkerAnswers(t *testing.T) {
	var well, idle atomic.Bool
	well.Store(true)
	idle.Store(true)
	w := dog(t, &well, &idle)
	w.every = time.Second // a slow machine is no dead worker
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := w.run(ctx); err != nil {
		t.Error(err)
	}
}
