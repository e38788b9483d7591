package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Delete removes a session with everything that is stored of it. It is idempotent: a session that does not exist, or is
// deleted, is no error. ErrBusy: a job holds it. Of the session only the number of its last attempt is kept, so that none
// is used twice, until a Sweep finds it a day old; a later Acquire with its ID begins a new session. A deletion that was cut
// short is finished by the next call of Delete or Acquire, or by a Sweep; until then the session does not exist to anybody
// else either.
func (s *Sessions) Delete(ctx context.Context, id string) error {
	err := s.deleteOnce(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func (s *Sessions) deleteOnce(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	token := new(int)
	if _, held := s.held.LoadOrStore(id, token); held {
		return fmt.Errorf("delete session %s: %w", id, ErrBusy)
	}
	defer s.held.CompareAndDelete(id, token)
	for {
		seen, cond, err := s.free(ctx, id, true)
		if err != nil {
			return fmt.Errorf("delete session %s: %w", id, err)
		}
		if seen.Status == statusDeleted {
			return nil
		}
		err = s.finishDeletion(ctx, seen, cond)
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
}

// finishDeletion takes the session, removes its objects and leaves a tombstone. ErrConflict or ErrNotFound: somebody else
// has moved it meanwhile.
func (s *Sessions) finishDeletion(ctx context.Context, seen Metadata, cond Condition) error {
	l, err := s.takeToDelete(ctx, seen, cond)
	if err != nil {
		return err
	}
	defer l.Close() // whatever is left to do, whoever comes next finishes it
	if err := l.removeObjects(ctx); err != nil {
		return fmt.Errorf("delete session %s: %w", seen.SessionID, err)
	}
	return l.End(ctx, func(m *Metadata) {
		*m = Metadata{
			SchemaVersion: m.SchemaVersion, SessionID: m.SessionID, Attempt: m.Attempt, Lease: m.Lease,
			Status: statusDeleted, CreatedAt: m.CreatedAt, TakenFrom: m.TakenFrom,
		}
	})
}

func (s *Sessions) takeToDelete(ctx context.Context, seen Metadata, cond Condition) (*Lease, error) {
	seen.ClosedThrough = seen.Attempt // what nobody will read needs no end
	return s.take(ctx, seen, cond, func(m *Metadata) error {
		m.Status = statusDeleting
		return nil
	}, func() {})
}

// removeTombstone removes what is left of a deleted session. It takes the session first, so that nobody begins it anew before
// it is gone, and gives up where that is not sure any more.
func (s *Sessions) removeTombstone(ctx context.Context, seen Metadata, cond Condition) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.grace(), errNoAnswer)
	defer cancel()
	l, err := s.takeToDelete(ctx, seen, cond)
	if err != nil {
		return err
	}
	l.Close() // nothing is left to be renewed
	return s.cfg.Store.Delete(ctx, metadataKey(seen.SessionID))
}

// removeObjects removes everything of the session but its metadata, and but what a later attempt has put: a worker that was
// frozen here goes on when the session is another's, before it knows.
func (l *Lease) removeObjects(ctx context.Context) error {
	ctx, cancel := l.bound(ctx)
	defer cancel()
	return l.s.retry(ctx, func() error {
		found, err := l.s.listAll(ctx, sessionKey(l.id, ""), "")
		if err != nil {
			return err
		}
		var keys []string
		for _, info := range found {
			attempt, numbered := objectAttempt(l.id, info.Key)
			if info.Key != metadataKey(l.id) && (!numbered || attempt <= l.attempt) {
				keys = append(keys, info.Key)
			}
		}
		for page := range slices.Chunk(keys, listPage) {
			if err := l.s.cfg.Store.Delete(ctx, page...); err != nil {
				return err
			}
		}
		return nil
	})
}
