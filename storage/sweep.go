package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Sweep looks at no more than limit sessions, those after the session cursor, and deletes the ones that nothing has happened to
// for longer than ttl, by the store's clock; also those, however young, whose deletion was cut short, and what is left of those
// that were deleted a day ago. A session that a job holds is not deleted, nor one that is resumed meanwhile. next is the cursor
// for the sessions behind, empty at their end. What cannot be read is left alone, with a line in the log; ErrUnavailable: the
// store does not answer, removed says how many were deleted by then, and next is behind the session for which it had no answer,
// which may be the only one.
func (s *Sessions) Sweep(ctx context.Context, cursor string, limit int, ttl time.Duration) (next string, removed int, err error) {
	after := ""
	if cursor != "" {
		after = sessionPrefix + cursor + "/"
	}
	folders, err := s.cfg.Store.Folders(ctx, sessionPrefix, after, limit)
	if err != nil {
		return cursor, 0, fmt.Errorf("sweep sessions: %w", err)
	}
	for _, folder := range folders {
		id := strings.TrimSuffix(strings.TrimPrefix(folder, sessionPrefix), "/")
		gone, err := s.sweepOne(ctx, id, ttl)
		cursor = id
		switch {
		case ctx.Err() != nil, errors.Is(err, ErrUnavailable):
			return cursor, removed, fmt.Errorf("sweep sessions: %w", err)
		case err != nil:
			s.cfg.Log.Warn().Err(err).Str("session", id).Msg("session not swept")
		case gone:
			removed++
		}
	}
	if len(folders) < limit {
		cursor = ""
	}
	return cursor, removed, nil
}

// tombstoneLife is for how long the number of a deleted session's last attempt is kept: no worker is frozen for that long.
const tombstoneLife = 24 * time.Hour

// due tells whether there is something to delete.
func (m stored) due(ttl time.Duration) bool {
	switch m.Status {
	case statusDeleting:
		return true
	case statusDeleted:
		return m.age > tombstoneLife
	default:
		return m.age > ttl
	}
}

// sweepOne deletes a session if its time is over and nobody moves it meanwhile.
func (s *Sessions) sweepOne(ctx context.Context, id string, ttl time.Duration) (gone bool, err error) {
	if err := checkID(id); err != nil {
		return false, err
	}
	old, err := s.read(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && !old.due(ttl) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	token := new(int)
	if _, held := s.held.LoadOrStore(id, token); held {
		return false, nil
	}
	defer s.held.CompareAndDelete(id, token)
	seen, cond, err := s.free(ctx, id, true)
	switch {
	case err != nil || cond != IfVersion(old.version):
	case seen.Status == statusDeleted:
		err = s.removeTombstone(ctx, seen, cond)
	default:
		err = s.finishDeletion(ctx, seen, cond)
		gone = err == nil
	}
	if errors.Is(err, ErrBusy) || errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
		return false, nil // it is in use, or was a moment ago
	}
	return gone, err
}
