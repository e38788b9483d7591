package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// pollInterval is how often a reader looks for news.
const pollInterval = 500 * time.Millisecond

// Events calls emit with every event of the session that is stored now and comes after the event after, in order, each
// as the line of JSON that it is, without a newline. The terminal event of an attempt that has not ended yet is not
// among them. An error of emit ends it and is returned. The line is emit's to keep.
func (s *Sessions) Events(ctx context.Context, id string, after event.ID, emit func(line []byte) error) error {
	if err := checkID(id); err != nil {
		return err
	}
	m, err := s.present(ctx, id)
	if err != nil {
		return err
	}
	r := newReader(s, id, after, emit)
	return r.round(ctx, m.Metadata, m.age > s.expiry()+s.renewal())
}

// Follow is Events, and then goes on with what other workers store, less than two seconds behind them, up to the end of
// the session's latest attempt; then it returns nil. When the lease of that attempt expires and it has no terminal event,
// emit gets the event worker_lost, which is told and not stored: that is for the next attempt to do.
//
// It returns the error of a store that does not answer to begin with. From its first answer on, Follow waits for a store
// that is away for as long as ctx lets it, and no event is left out or repeated.
func (s *Sessions) Follow(ctx context.Context, id string, after event.ID, emit func(line []byte) error) error {
	if err := checkID(id); err != nil {
		return err
	}
	f := follower{s: s, id: id, reader: newReader(s, id, after, emit)}
	for {
		ended, err := f.look(ctx)
		var refused *emitError
		switch {
		case errors.As(err, &refused):
			return refused.err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && (!f.begun || !errors.Is(err, ErrUnavailable)):
			return fmt.Errorf("follow session %s: %w", id, err)
		case ended:
			return nil
		case err != nil:
			f.watch.interrupted()
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return err
		}
	}
}

// follower is one Follow.
type follower struct {
	s      *Sessions
	id     string
	begun  bool // the store has answered
	watch  watch
	reader *reader
}

// look takes one look at the session, metadata first: an attempt that has ended by then has all its events stored.
func (f *follower) look(ctx context.Context) (ended bool, err error) {
	m, err := f.s.present(ctx, f.id)
	if err != nil {
		return false, err
	}
	f.begun = true
	dead := f.watch.expired(f.s, m)
	if err := f.reader.round(ctx, m.Metadata, dead); err != nil {
		return false, err
	}
	if dead && f.reader.ended < m.Attempt {
		return true, f.tellLost(m.Attempt)
	}
	return dead || m.Lease == nil, nil
}

func (f *follower) tellLost(attempt int) error {
	line, err := f.s.lostEvent(f.id, attempt)
	if err != nil {
		return err
	}
	return f.reader.deliver(event.ID{Attempt: attempt, N: event.Lost}, line)
}
