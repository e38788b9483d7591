package storage

import (
	"bytes"
	"context"
	"errors"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// reader reads a session's segments, round after round, each event once.
type reader struct {
	s    *Sessions
	id   string
	emit func(line []byte) error

	after   event.ID // the last event that its reader has
	ended   int      // the latest attempt whose terminal event has been read
	current string   // the key of the segment that is being read
	offset  int64    // how much of it has been read
}

// emitError keeps the reader's own error apart from the store's.
type emitError struct{ err error }

func (e *emitError) Error() string { return e.err.Error() }
func (e *emitError) Unwrap() error { return e.err }

func newReader(s *Sessions, id string, after event.ID, emit func([]byte) error) *reader {
	return &reader{s: s, id: id, emit: emit, after: after}
}

// round reads what is new. m are the metadata as read before; dead says that their lease has expired.
func (r *reader) round(ctx context.Context, m Metadata, dead bool) error {
	segments, err := r.s.listAll(ctx, segmentsKey(r.id), r.listAfter())
	if err != nil {
		return err
	}
	for i, info := range segments {
		first, ok := parseSegment(r.id, info.Key)
		if !ok || r.known(first, segments[i:]) {
			continue
		}
		if info.Key != r.current {
			r.current, r.offset = info.Key, 0
		}
		whole, err := r.segment(ctx, m, dead)
		if err != nil || !whole {
			return err
		}
	}
	return nil
}

// listAfter is a key before that of the first segment of interest.
func (r *reader) listAfter() string {
	if first, ok := parseSegment(r.id, r.current); ok {
		return segmentKey(r.id, first.Attempt, first.N-1)
	}
	return segmentKey(r.id, r.after.Attempt, 0)
}

// known tells whether the first of the segments has nothing new. One with another behind it is read again even if it seems
// unchanged: the listing may have looked at it before its last events came, and at the other one after.
func (r *reader) known(first event.ID, segments []Info) bool {
	if len(segments) == 1 {
		return segments[0].Key == r.current && segments[0].Size == r.offset
	}
	next, ok := parseSegment(r.id, segments[1].Key)
	return ok && next.Attempt == first.Attempt && r.after.Attempt == first.Attempt && next.N <= r.after.N+1
}

// segment reads the rest of the current segment. It is not whole if the rest must wait: an attempt that has begun since the
// metadata were read, and a terminal event, which readers see only when the metadata say that the attempt is over.
func (r *reader) segment(ctx context.Context, m Metadata, dead bool) (whole bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, shipTimeout, errNoAnswer)
	defer cancel()
	data, _, err := r.s.get(ctx, r.current, maxSegment)
	if errors.Is(err, ErrNotFound) || err == nil && int64(len(data)) < r.offset {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for line := range bytes.Lines(data[r.offset:]) {
		id := event.IDOf(line)
		terminal := event.Terminal(event.TypeOf(line))
		running := m.Lease != nil && !dead
		if id.Attempt > m.Attempt || terminal && running && id.Attempt == m.Attempt {
			return false, nil
		}
		if id.Attempt > r.ended {
			if err := r.deliver(id, bytes.Clone(bytes.TrimSuffix(line, []byte("\n")))); err != nil {
				return false, err
			}
		}
		if terminal {
			r.ended = max(r.ended, id.Attempt)
		}
		r.offset += int64(len(line))
	}
	return true, nil
}

// deliver passes on an event that its reader does not have.
func (r *reader) deliver(id event.ID, line []byte) error {
	if !r.after.Before(id) {
		return nil
	}
	if err := r.emit(line); err != nil {
		return &emitError{err}
	}
	r.after = id
	return nil
}
