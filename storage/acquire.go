package storage

import (
	"context"
	"errors"
	"fmt"
)

// Acquire takes the lease of a session for a new attempt, and makes the session if there is none and mustExist is false.
//
// init is called with the metadata as they are about to be stored, Attempt already counted: new and otherwise empty, or
// those of the session. It may be called more than once, with the metadata as they are by then. Its error is returned
// and nothing changes.
//
// ErrNotFound: there is no such session, though it must exist, or no session can have this ID. ErrBusy: the lease is
// another's, and alive. An expired lease is taken over, which takes a quarter of the LeaseTTL to be sure; attempts that
// ended without a word are then closed by the event worker_lost before Acquire returns. When ctx ends, its cause is
// returned. After any error the session is as it was, or free, but for ErrUnavailable: then it may be held until the
// lease expires, or until this Sessions acquires it.
//
// Give the lease back by End, or let it go by Close.
func (s *Sessions) Acquire(ctx context.Context, id string, mustExist bool, init func(*Metadata) error) (*Lease, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	token := new(int)
	if _, held := s.held.LoadOrStore(id, token); held {
		return nil, fmt.Errorf("acquire session %s: %w", id, ErrBusy)
	}
	release := func() { s.held.CompareAndDelete(id, token) }
	l, err := s.acquire(ctx, id, mustExist, init, release)
	if err != nil {
		release()
		return nil, fmt.Errorf("acquire session %s: %w", id, err)
	}
	return l, nil
}

func (s *Sessions) acquire(
	ctx context.Context, id string, mustExist bool, init func(*Metadata) error, release func(),
) (*Lease, error) {
	for {
		seen, cond, err := s.free(ctx, id, mustExist)
		if err != nil {
			return nil, err
		}
		if seen.gone() && mustExist {
			return nil, fmt.Errorf("it was deleted: %w", ErrNotFound)
		}
		if seen.Status == statusDeleting {
			err = s.finishDeletion(ctx, seen, cond)
		} else {
			var l *Lease
			if l, err = s.take(ctx, seen, cond, init, release); err == nil {
				return l, nil
			}
		}
		if err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
}

// free finds metadata that may be taken, and the condition under which.
func (s *Sessions) free(ctx context.Context, id string, mustExist bool) (Metadata, Condition, error) {
	for {
		seen, err := s.read(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound) && !mustExist:
			return s.newSession(id), IfAbsent, nil
		case err != nil:
			return Metadata{}, "", err
		case seen.Lease == nil || seen.Lease.Holder == s.cfg.Holder:
			// A lease of this process that it does not hold is one that was let go.
			return seen.Metadata, IfVersion(seen.version), nil
		case seen.age <= s.expiry():
			return Metadata{}, "", ErrBusy
		}
		seen, expired, err := s.awaitExpiry(ctx, seen)
		if err != nil {
			return Metadata{}, "", err
		}
		if expired {
			return seen.Metadata, IfVersion(seen.version), nil
		}
	}
}

func (s *Sessions) newSession(id string) Metadata {
	return Metadata{SchemaVersion: schemaVersion, SessionID: id, CreatedAt: s.cfg.Now().UTC()}
}

// take moves the metadata to the next attempt, which is the fence for all earlier ones, and closes those.
// ErrConflict or ErrNotFound: somebody else has moved them.
func (s *Sessions) take(
	ctx context.Context, from Metadata, cond Condition, init func(*Metadata) error, release func(),
) (*Lease, error) {
	next := from.clone()
	if from.Status == statusDeleted {
		next = s.newSession(from.SessionID)
		next.Attempt, next.ClosedThrough = from.Attempt, from.Attempt
	}
	next.Attempt++
	next.Lease = &Holding{Holder: s.cfg.Holder, Attempt: next.Attempt}
	next.Status = StatusRunning
	next.Nonce, next.TakenFrom = s.cfg.NewID(), from.Nonce
	next.UpdatedAt = s.cfg.Now().UTC()
	if err := init(&next); err != nil {
		return nil, err
	}
	sent := s.cfg.Now()
	version, err := s.putMetadata(ctx, next, cond)
	if err != nil {
		// The move may have been made: its answer was lost, or nobody waits for it any more, or it was that of a try before the
		// one that was refused. Left alone it would keep all others out for as long as a lease lasts.
		now, readErr := s.read(context.WithoutCancel(ctx), next.SessionID)
		if readErr != nil || now.Nonce != next.Nonce {
			return nil, err
		}
		version = now.version
	}
	l := s.newLease(ctx, from, next.clone(), version, sent, release)
	if err := l.closeDead(ctx); err != nil {
		l.giveBack(ctx)
		if l.Err() != nil { // this worker was frozen over it
			return nil, fmt.Errorf("taken over at once: %w", ErrBusy)
		}
		return nil, err
	}
	return l, nil
}
