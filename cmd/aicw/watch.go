package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// watch follows a job to its end and returns what it came to. The first interruption by the user aborts the job, if abort is not
// nil and the job is known to run; any other one leaves it alone and returns.
func (a *app) watch(ctx context.Context, s *screen, follow func(context.Context) (client.Event, error), abort func(context.Context)) error {
	var side sync.WaitGroup
	defer side.Wait()
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	sent, stop := a.signals()
	defer stop()
	var aborting atomic.Bool
	side.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-sent:
				if sig != os.Interrupt || abort == nil || s.known() == "" || !aborting.CompareAndSwap(false, true) {
					leave(errInterrupted)
					return
				}
				side.Go(func() { abort(ctx) })
			}
		}
	})
	end, err := follow(ctx)
	return a.outcome(s, end, err, aborting.Load())
}

// outcome makes an error of a job's end.
func (a *app) outcome(s *screen, end client.Event, err error, aborted bool) error {
	var lost *client.LostError
	switch {
	case errors.As(err, &lost):
		s.note("the job may be running still; to see it: %s %s", a.hint("attach"), lost.SessionID)
	case (errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled)) && s.known() != "":
		s.note("the job goes on without you; to see it: %s %s", a.hint("attach"), s.known())
	}
	if err != nil || end.Type == event.TypeCompleted {
		return err
	}
	if failed, ok := end.Body().(event.Failed); ok && failed.Code == event.Aborted && aborted {
		return errInterrupted
	}
	return errJobFailed
}

// aborter asks the worker to end the job that the screen shows.
func aborter(c *client.Client, s *screen) func(context.Context) {
	return func(ctx context.Context) {
		s.note("asking the worker to end the job; interrupt once more to leave it running")
		if _, err := c.Abort(ctx, s.known()); err != nil && ctx.Err() == nil {
			s.note("the job could not be aborted: %v", err)
		}
	}
}
