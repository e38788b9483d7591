package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// keep makes the moves that are asked for, and those that nobody asks for: the renewals.
func (l *Lease) keep() {
	timer := time.NewTimer(l.s.renewal())
	defer timer.Stop()
	for l.Err() == nil {
		var err error
		select {
		case <-l.ctx.Done():
			return
		case request := <-l.moves:
			err = l.move(request.ctx, request.change)
			over := l.over()
			request.done <- err
			if over {
				return
			}
		case <-timer.C:
			err = l.renew()
			timer.Reset(l.s.renewal())
		}
		if err != nil {
			// Whoever wants the session waits for as long as a renewal takes: be back in time.
			timer.Reset(l.s.renewal() / 8)
		}
	}
}

// over tells that the last move has been made: another one would be made in a session that is no longer this worker's.
func (l *Lease) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.meta.Lease == nil
}

func (l *Lease) renew() error {
	ctx, cancel := context.WithTimeoutCause(l.ctx, l.s.renewal(), errNoAnswer)
	defer cancel()
	l.lookForAbort(ctx)
	err := l.move(ctx, func(*Metadata) {})
	if err != nil && l.ctx.Err() == nil {
		l.log.Warn().Err(err).Int("attempt", l.attempt).Msg("lease not renewed")
	}
	return err
}

func (l *Lease) lookForAbort(ctx context.Context) {
	select {
	case <-l.aborted:
		return
	default:
	}
	ctx, cancel := l.s.try(ctx)
	defer cancel()
	if _, err := l.s.cfg.Store.Stat(ctx, abortKey(l.id, l.attempt)); err == nil {
		close(l.aborted)
	}
}

// move changes the metadata by compare-and-set, until it is done, ctx ends, or the session is another's. It is called by
// the lease's goroutine alone.
func (l *Lease) move(ctx context.Context, change func(*Metadata)) error {
	ctx, cancel := l.bound(ctx)
	defer cancel()
	m := move{l: l, change: change, nonce: l.s.cfg.NewID(), sent: l.s.cfg.Now()}
	return l.s.retry(ctx, func() error {
		for {
			done, err := m.try(ctx)
			if done || err != nil {
				return err
			}
		}
	})
}

// move is one move in progress, known by its nonce whatever becomes of its answers.
type move struct {
	l      *Lease
	change func(*Metadata)
	nonce  string
	sent   time.Time // when it was first sent
	next   Metadata  // what was last sent
}

// try sends the move once. Neither done nor an error: there is a newer version of this worker's own to move from.
func (m *move) try(ctx context.Context) (done bool, err error) {
	l := m.l
	version := m.prepare()
	sent := l.s.cfg.Now()
	version, err = l.s.putMetadata(ctx, m.next, IfVersion(version))
	switch {
	case err == nil:
		l.moved(m.next, version, sent)
		return true, nil
	case errors.Is(err, ErrConflict), errors.Is(err, ErrNotFound):
		return m.reconcile(ctx)
	}
	return false, fmt.Errorf("move session %s: %w", l.id, err)
}

// prepare makes what is to be stored, and says which version it follows.
func (m *move) prepare() (version string) {
	m.l.mu.Lock()
	next, version := m.l.meta.clone(), m.l.version
	m.l.mu.Unlock()
	m.change(&next)
	next = next.clone() // what change has put in is the caller's
	next.Nonce = m.nonce
	m.l.mu.Lock()
	m.l.objects.qualify(next.Snapshot)
	m.l.mu.Unlock()
	m.next = next
	return version
}

// reconcile looks at what stands where this worker's last version should. An attempt belongs to one worker, so
// metadata with its number are its own, put by a move whose answer was lost.
func (m *move) reconcile(ctx context.Context) (done bool, err error) {
	l := m.l
	now, err := l.s.read(ctx, l.id)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, l.replace(0)
	case err != nil:
		return false, err
	case now.Nonce == m.nonce:
		l.moved(now.Metadata, now.version, m.sent)
		return true, nil
	case now.TakenFrom == m.nonce && m.next.Lease == nil:
		// The last move has been made, and the next attempt has begun on the session that it freed.
		l.moved(m.next, now.version, m.sent)
		return true, nil
	case now.Attempt != l.attempt:
		return false, l.replace(now.Attempt)
	}
	l.moved(now.Metadata, now.version, time.Time{})
	return false, nil
}

// moved takes note of what is stored now.
func (l *Lease) moved(meta Metadata, version string, sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.objects.replaced(l.meta, meta)
	l.meta, l.version = meta, version
	if sent.After(l.renewed) {
		l.renewed = sent
	}
}

// replace ends everything: the session is another's.
func (l *Lease) replace(by int) error {
	l.stop(ErrReplaced)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isGone && l.Err() != nil {
		l.isGone = true
		close(l.replaced)
		l.log.Warn().Int("attempt", l.attempt).Int("by", by).Msg("fenced: replaced by another worker")
	}
	return ErrReplaced
}
