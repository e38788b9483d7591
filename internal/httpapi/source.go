package httpapi

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
)

// source gives a stream its events, in order, as they come; it returns when there are no more, or when ctx or emit ends it.
type source func(ctx context.Context, emit emitter) error

// emitter takes one event: its ID, the zero one where it has none, and its line.
type emitter func(id event.ID, line []byte) error

// line is the emitter as the session store calls it.
func (emit emitter) line(line []byte) error { return emit(event.IDOf(line), line) }

// tailing gives the events of a log of this worker, live, until its end.
func tailing(tail *eventlog.Tail) source {
	return func(ctx context.Context, emit emitter) error {
		for {
			line, id, err := tail.Next(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := emit(id, line); err != nil {
				return err
			}
		}
	}
}

// sessionSource gives the events of a session after one of them: stored ones, and then live until the terminal event of
// the latest job. A job on this worker is read from its own log, any other through storage.
func (s *Server) sessionSource(id string, after event.ID) source {
	b := s.running()
	if b == nil || b.SessionID != id {
		return s.followed(id, after)
	}
	return func(ctx context.Context, emit emitter) error {
		told := after
		noting := func(at event.ID, line []byte) error {
			told = at
			return emit(at, line)
		}
		if err := s.earlier(ctx, id, after, b.Attempt, noting); err != nil {
			return err
		}
		tail := b.Log.Tail(numberIn(b.Attempt, after))
		defer tail.Close()
		err := tailing(tail)(ctx, emit)
		if errors.Is(err, fs.ErrClosed) { // the job is over, and all of it is stored
			return s.cfg.Sessions.Follow(ctx, id, told, emit.line)
		}
		return err
	}
}

// followed reads through storage. It ends when this worker goes: another one answers as well.
func (s *Server) followed(id string, after event.ID) source {
	return func(ctx context.Context, emit emitter) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.closing, cancel)()
		return s.cfg.Sessions.Follow(ctx, id, after, emit.line)
	}
}

// errEnough stops a reading of stored events.
var errEnough = errors.New("the rest is in the local log")

// earlier gives the stored events of the attempts before the one that runs here.
func (s *Server) earlier(ctx context.Context, id string, after event.ID, attempt int, emit emitter) error {
	if after.Attempt >= attempt || attempt <= 1 {
		return nil
	}
	err := s.cfg.Sessions.Events(ctx, id, after, func(line []byte) error {
		eventID := event.IDOf(line)
		if eventID.Attempt >= attempt {
			return errEnough
		}
		return emit(eventID, line)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// numberIn is where an attempt's log is to be read from: after an event of another attempt it is the beginning or the end.
func numberIn(attempt int, after event.ID) int {
	switch {
	case after.Attempt < attempt:
		return 0
	case after.Attempt > attempt:
		return event.Lost
	default:
		return after.N
	}
}
