package httpapi

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// job is what holds the worker's slot: a request from the moment it was found good.
type job struct {
	requestID string
	sessionID string // as requested; empty: not known before it has begun
	startedAt time.Time
	ctx       context.Context
	cancel    context.CancelCauseFunc

	begun atomic.Pointer[begun]
	ready chan struct{} // closed when it has begun
	over  chan struct{} // closed when it has ended or could not start; err is set
	err   error
}

// begun is a job whose log is open. tail is the one that the request itself is answered with: taken here, it cannot
// come too late for a job that is over in no time.
type begun struct {
	orchestrator.Started
	tail *eventlog.Tail
}

// start takes the slot and runs a job on it. The job belongs to the worker and not to the connection: parent gives it its
// values and not its end.
func (s *Server) start(parent context.Context, spec orchestrator.Job) (*job, error) {
	j := &job{
		requestID: spec.RequestID, sessionID: spec.SessionID, startedAt: s.cfg.Now(),
		ready: make(chan struct{}), over: make(chan struct{}),
	}
	j.ctx, j.cancel = context.WithCancelCause(context.WithoutCancel(parent))
	for !s.slot.CompareAndSwap(nil, j) {
		if err := s.occupied(); err != nil { // else the slot has become free in between
			j.cancel(nil)
			return nil, err
		}
	}
	if s.draining.Load() { // since the request was looked at: Serve waits for whoever it finds in the slot
		s.free(j)
		return nil, refuse(event.ShuttingDown)
	}
	go s.run(j, spec)
	return j, nil
}

// free ends a job that did not begin: the slot is free before anybody hears of it.
func (s *Server) free(j *job) {
	j.cancel(nil)
	s.slot.Store(nil)
	close(j.over)
}

// run does the job. Where it was cut short before it began, the cause is its error, and the worker is as free as before;
// a panic leaves nobody knows what behind, so the worker ends with it.
func (s *Server) run(j *job, spec orchestrator.Job) {
	j.err = s.guarded(j, spec)
	if _, panicked := errors.AsType[*panicError](j.err); j.begun.Load() == nil && !panicked {
		if cause := context.Cause(j.ctx); j.err != nil && cause != nil {
			j.err = cause
		}
		s.free(j)
		return
	}
	j.cancel(nil)
	close(s.jobOver) // first: who has waited for j.over asks whether it was a job's end
	close(j.over)
}

// panicError is a panic that was caught.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// guarded turns a panic of the job into its error, and lets its readers go.
func (s *Server) guarded(j *job, spec orchestrator.Job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.jobLogger().Error().Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("job panicked")
			err = &panicError{p}
			if b := j.begun.Load(); b != nil {
				b.Log.Abandon()
			}
		}
	}()
	return s.cfg.Runner.Run(j.ctx, spec, func(started orchestrator.Started) {
		j.begun.Store(&begun{Started: started, tail: started.Log.Tail(0)})
		close(j.ready)
		go func() {
			<-started.Log.Ended()
			close(s.jobEnded)
		}()
	})
}

// jobLogger is for lines about the job on the slot, or about the worker where there is none.
func (s *Server) jobLogger() *zerolog.Logger {
	l := s.cfg.Log
	if j := s.slot.Load(); j != nil {
		l = l.With().Str("request", j.requestID).Str("session", j.session()).Logger()
	}
	return &l
}

// running is the job on the slot if it has begun, over or not.
func (s *Server) running() *begun {
	if j := s.slot.Load(); j != nil {
		return j.begun.Load()
	}
	return nil
}

// session is the job's session as far as it is known.
func (j *job) session() string {
	if b := j.begun.Load(); b != nil {
		return b.SessionID
	}
	return j.sessionID
}

// isOver reports whether nothing runs any more.
func (j *job) isOver() bool {
	select {
	case <-j.over:
		return true
	default:
		return false
	}
}
