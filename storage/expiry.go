package storage

import (
	"context"
	"errors"
	"time"
)

// watch decides whether a lease has expired. Its age alone does not tell: after an outage of the store the holder is
// old and alive, so it gets the time of a renewal, counted while the store answers.
type watch struct {
	version string
	since   time.Time // that the version has been seen old and unchanged
}

// expired takes a look at stored metadata and says whether its lease has expired.
func (w *watch) expired(s *Sessions, m stored) bool {
	if m.Lease == nil || m.age <= s.expiry() {
		*w = watch{}
		return false
	}
	now := s.cfg.Now()
	if m.version != w.version {
		*w = watch{version: m.version, since: now}
	}
	return now.Sub(w.since) >= s.renewal()
}

// interrupted says that the store did not answer.
func (w *watch) interrupted() { *w = watch{} }

// awaitExpiry watches a lease whose age lets it seem expired. It returns true with the metadata that may be taken over,
// and false when they have been moved meanwhile: look again.
func (s *Sessions) awaitExpiry(ctx context.Context, seen stored) (stored, bool, error) {
	var w watch
	for !w.expired(s, seen) {
		now, err := s.lookAgain(ctx, seen.SessionID, &w)
		if err != nil || now.version != seen.version {
			return stored{}, false, err
		}
		seen = now
	}
	return seen, true, nil
}

// lookAgain reads the metadata a moment later, or when the store answers again.
func (s *Sessions) lookAgain(ctx context.Context, id string, w *watch) (stored, error) {
	for {
		if err := sleep(ctx, max(s.renewal()/8, minPause)); err != nil {
			return stored{}, err
		}
		m, err := s.read(ctx, id)
		if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			return m, err
		}
		w.interrupted()
	}
}
