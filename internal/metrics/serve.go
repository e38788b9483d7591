package metrics

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// mostScrapes is how many are answered at once; more are told to come again.
	mostScrapes = 4
	// patience bounds a request, and then its answer.
	patience = 10 * time.Second
	// farewell bounds what a worker that leaves waits for answers that it has begun.
	farewell = time.Second
)

// Serve answers GET /metrics on ln until ctx ends, but not to whom Config.Guard refuses, and then finishes the answers that it has begun: the last one may be the
// only one that tells of a job's end. The error is a listener that failed.
func (m *Metrics) Serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	server := &http.Server{Handler: m.admitting(mux), ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: time.Minute, ConnContext: m.guard.Watch}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if server.Shutdown(grace) != nil {
		_ = server.Close()
	}
	return nil
}

// admitting refuses before anything counts as a scrape.
func (m *Metrics) admitting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := m.guard.Admit(r.Context()); err != nil {
			http.Error(w, "the worker does not serve its own agent", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	handler := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: mostScrapes})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := m.scrapes.begin()
		handler.ServeHTTP(w, r)
		m.scrapes.end(seen)
	})
}

// Linger waits until a scrape has seen the end of every job that has ended, or until ctx ends. A worker that exits with its
// job would take the numbers with it.
func (m *Metrics) Linger(ctx context.Context) { m.scrapes.await(ctx) }

// scrapes knows what has been scraped of what there is. It is safe for concurrent use.
type scrapes struct {
	mu      sync.Mutex
	changes int           // that there were
	seen    int           // of these, by a scrape
	scraped chan struct{} // closed at the next end of a scrape
}

func newScrapes() *scrapes { return &scrapes{scraped: make(chan struct{})} }

func (s *scrapes) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
}

// begin returns what end is to be called with.
func (s *scrapes) begin() (changes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

func (s *scrapes) end(changes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = max(s.seen, changes)
	close(s.scraped)
	s.scraped = make(chan struct{})
}

func (s *scrapes) await(ctx context.Context) {
	for {
		s.mu.Lock()
		all, scraped := s.seen == s.changes, s.scraped
		s.mu.Unlock()
		if all {
			return
		}
		select {
		case <-scraped:
		case <-ctx.Done():
			return
		}
	}
}
