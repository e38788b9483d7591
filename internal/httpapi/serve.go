package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

const (
	maxHeader   = 64 << 10
	idleTimeout = 60 * time.Second
	mostForEnd  = 5 * time.Minute
)

// errGrace is a job that outlived the whole of Config.StopGrace.
var errGrace = errors.New("the job did not end within the grace")

// Serve answers requests on ln until the worker's one job is over and its readers have taken its last event, or until
// ctx ends: an idle worker then returns at once. A busy one takes no more jobs and goes on with its own until what is left
// of StopGrace is only enough to save its work, or Hurry is closed; then the job's context ends with orchestrator.ErrShutdown.
// A worker that was asked to leave returns when it is idle, however long its job takes. The error is
// the worker's own fault: what Runner.Run returned for a job that had begun, or a listener or a job that failed it.
// Serve may be called once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server, fresh := s.httpServer()
	served, accepted := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(accepted)
		served <- server.Serve(listener{ln})
	}()
	go s.refuseWhenEnded(ln)

	err := s.untilGoing(ctx, served)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.StopGrace)
	defer cancel()
	err = cmp.Or(err, s.drain(grace))
	_ = ln.Close()
	<-accepted // now all of them are known
	fresh.settle(s.cfg.Timing.Fresh)
	s.shutdown(grace, server)
	return err
}

// untilGoing waits for a reason to stop serving; the error is a listener that failed.
func (s *Server) untilGoing(ctx context.Context, served <-chan error) error {
	select {
	case <-s.jobOver:
	case <-ctx.Done():
	case <-s.leave:
		if j := s.slot.Load(); j != nil {
			select {
			case <-j.over:
			case <-ctx.Done():
			}
		}
	case err := <-served:
		if !s.leaving() { // by itself: refuseWhenEnded has not closed the listener
			return fmt.Errorf("serve: %w", err)
		}
	}
	return nil
}

// refuseWhenEnded takes no connection any more once the job has ended. A refused connection is the one answer after which
// every proxy tries another worker with the same request.
func (s *Server) refuseWhenEnded(ln net.Listener) {
	select {
	case <-s.jobEnded:
		_ = ln.Close()
	case <-s.closing.Done():
	}
}

// drain takes no more jobs, and waits for the one there is.
func (s *Server) drain(grace context.Context) error {
	s.draining.Store(true)
	j := s.slot.Load()
	if j == nil {
		return nil
	}
	stop := time.NewTimer(s.cfg.StopGrace - s.endBudget())
	defer stop.Stop()
	hurry := s.cfg.Hurry
	for {
		select {
		case <-j.over:
			return s.jobError()
		case <-stop.C:
			j.cancel(orchestrator.ErrShutdown)
		case <-hurry:
			hurry = nil
			j.cancel(orchestrator.ErrShutdown)
		case <-grace.Done():
			return errGrace
		}
	}
}

// endBudget is the part of the grace that a job needs to save its work, push it and say so.
func (s *Server) endBudget() time.Duration { return min(s.cfg.StopGrace/2, mostForEnd) }

// jobError is what went wrong in a job that was not merely refused; nil while none is over.
func (s *Server) jobError() error {
	select {
	case <-s.jobOver:
	default:
		return nil
	}
	if err := s.slot.Load().err; err != nil {
		return fmt.Errorf("run the job: %w", err)
	}
	return nil
}

// shutdown lets the requests that are being answered come to their end, and cuts those that take too long.
func (s *Server) shutdown(grace context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(grace, s.cfg.Timing.Linger)
	defer cancel()
	s.close()
	if err := server.Shutdown(ctx); err != nil {
		s.jobLogger().Info().Err(err).Msg("readers cut")
		_ = server.Close()
	}
}

func (s *Server) httpServer() (*http.Server, *freshConns) {
	fresh := &freshConns{conns: make(map[net.Conn]struct{}), fewer: make(chan struct{}, 1)}
	server := &http.Server{
		Handler:                      s.handler,
		ReadHeaderTimeout:            s.cfg.Timing.Header,
		ReadTimeout:                  s.cfg.Timing.Body, // for bodies that no handler reads, too
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ConnContext:                  s.withConn,
		ConnState:                    fresh.note,
		ErrorLog:                     stdlog.New(s.cfg.Log.With().Str("from", "net/http").Logger(), "", 0),
	}
	server.RegisterOnShutdown(fresh.close)
	return server, fresh
}

// freshConns are connections on which nothing was sent yet. Proxies keep some in store, and http.Server.Shutdown would
// wait five seconds for each.
type freshConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	fewer chan struct{} // has room for one: some have become others
}

func (f *freshConns) note(c net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state == http.StateNew {
		f.conns[c] = struct{}{}
		return
	}
	delete(f.conns, c)
	select {
	case f.fewer <- struct{}{}:
	default:
	}
}

// settle waits until there are none, but not for long. A request may be on its way on them, and http.Server.Shutdown would
// drop it: its client could not tell that from a job that has begun.
func (f *freshConns) settle(patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for f.count() > 0 {
		select {
		case <-f.fewer:
		case <-timer.C:
			return
		}
	}
}

func (f *freshConns) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

func (f *freshConns) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		_ = c.Close()
	}
}
