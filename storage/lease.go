package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

var errLeaseClosed = errors.New("the lease has been given back")

// Lease is the right to run a session for one attempt. A goroutine of its own makes all its moves of the metadata and
// renews it each quarter of the LeaseTTL. It is safe for concurrent use.
//
// A holder that could not renew for three quarters of the LeaseTTL writes nothing until it has: its calls wait for that,
// as long as their contexts let them. They try again while the store is away, and when their context ends first, the error
// wraps its cause and, if the store did not answer, ErrUnavailable. Once the session is another's, they all return
// ErrReplaced, at once.
type Lease struct {
	s       *Sessions
	id      string
	attempt int
	from    Metadata // the session before this attempt
	release func()   // lets this Sessions acquire it again
	log     zerolog.Logger

	ctx   context.Context // ends with the lease; its cause is ErrReplaced or errLeaseClosed
	stop  context.CancelCauseFunc
	work  sync.WaitGroup // the lease's goroutines
	moves chan moveRequest

	replaced chan struct{}
	aborted  chan struct{}

	mu      sync.Mutex
	meta    Metadata // as last stored
	version string
	renewed time.Time // when the last move that succeeded was sent
	isGone  bool      // replaced is closed
	objects objectNames
	shipper *shipper
}

type moveRequest struct {
	ctx    context.Context
	change func(*Metadata)
	done   chan<- error
}

func (s *Sessions) newLease(ctx context.Context, from, meta Metadata, version string, sent time.Time, release func()) *Lease {
	l := &Lease{
		s: s, id: meta.SessionID, attempt: meta.Attempt, from: from, release: release, log: s.logger(ctx, meta.SessionID),
		moves: make(chan moveRequest), replaced: make(chan struct{}), aborted: make(chan struct{}),
		meta: meta, version: version, renewed: sent, objects: newObjectNames(),
	}
	l.ctx, l.stop = context.WithCancelCause(context.Background())
	l.work.Go(l.keep)
	return l
}

// Attempt is this attempt's number.
func (l *Lease) Attempt() int { return l.attempt }

// Resumed tells whether the session was there before.
func (l *Lease) Resumed() bool { return l.from.Attempt > 0 && l.from.Status != statusDeleted }

// Metadata returns a copy of what was last stored.
func (l *Lease) Metadata() Metadata {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.meta.clone()
}

// Done is closed when another worker has replaced this one; Err then is ErrReplaced, and nil before.
func (l *Lease) Done() <-chan struct{} { return l.replaced }

// Err tells whether the session is another worker's by now.
func (l *Lease) Err() error {
	if err := context.Cause(l.ctx); errors.Is(err, ErrReplaced) {
		return err
	}
	return nil
}

// Aborted is closed when RequestAbort was called for this attempt, on any worker.
func (l *Lease) Aborted() <-chan struct{} { return l.aborted }

// Valid returns nil if the session is still this worker's for a quarter of the LeaseTTL at least, and renews first where
// that is not sure.
func (l *Lease) Valid(ctx context.Context) error {
	if err := l.Err(); err != nil {
		return err
	}
	if l.fresh() {
		return nil
	}
	return l.request(ctx, func(*Metadata) {})
}

func (l *Lease) fresh() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.cfg.Now().Sub(l.renewed) < l.s.grace()
}

// Update changes the metadata. change may be called more than once, each time with those that are stored by then; it must
// leave SessionID, Attempt and Lease alone. Of a new Snapshot the objects must have been put by Objects of this lease,
// or have been named by the snapshot before. When Update fails for want of an answer, the change may still have been made.
func (l *Lease) Update(ctx context.Context, change func(*Metadata)) error {
	return l.request(ctx, func(m *Metadata) {
		change(m)
		m.UpdatedAt = l.s.cfg.Now().UTC()
	})
}

// End makes the last move: change says how the attempt ended, and the session is free for the next one. It is called when
// the attempt's terminal event has been stored by Flush, or when no event has been said at all. A Status that change
// leaves at running becomes what it was before the attempt. Then it deletes what nothing names any more, which is nobody's
// failure if it fails, and closes the lease. After an error the lease is still held and End may be called again.
func (l *Lease) End(ctx context.Context, change func(*Metadata)) error {
	err := l.Update(ctx, func(m *Metadata) {
		change(m)
		l.settle(m)
		m.ClosedThrough = m.Attempt
	})
	if err != nil {
		return err
	}
	l.Close()
	l.tidy(ctx)
	return nil
}

// giveBack frees a session whose attempt could not begin.
func (l *Lease) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), maxTry, errNoAnswer)
	defer cancel()
	if err := l.Update(ctx, l.settle); err != nil {
		l.log.Warn().Err(err).Msg("lease not given back")
	}
	l.Close()
}

func (l *Lease) settle(m *Metadata) {
	m.Lease = nil
	if l.from.Status == statusDeleted && m.Status == StatusRunning {
		m.Status = statusDeleted // nothing was said: there is still no session
		return
	}
	if m.Status != StatusRunning {
		return
	}
	m.Status = StatusFailed
	if l.from.Status == StatusCompleted {
		m.Status = StatusCompleted
	}
}

// Close stops the lease's goroutines, waits for them, and leaves the store as it is: a lease that was not ended is free for
// this Sessions, and for others once it has expired. It is idempotent.
func (l *Lease) Close() {
	l.stop(errLeaseClosed)
	l.work.Wait()
	l.release()
}

// tidyTimeout is short: readers wait for it to see the end of the job, and what it leaves the next attempt sweeps up.
const tidyTimeout = 2 * time.Second

// tidy deletes, after the last move, what it has left without a name.
func (l *Lease) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), tidyTimeout, errNoAnswer)
	defer cancel()
	keys := []string{abortKey(l.id, l.attempt)}
	l.mu.Lock()
	for _, name := range l.objects.unnamed(l.meta) {
		keys = append(keys, sessionKey(l.id, name))
	}
	l.mu.Unlock()
	if err := l.s.cfg.Store.Delete(ctx, keys...); err != nil {
		l.log.Warn().Err(err).Msg("replaced objects not deleted")
	}
}

// bound makes a context that ends with the lease too.
func (l *Lease) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// request hands a move to the lease's goroutine and waits for it.
func (l *Lease) request(ctx context.Context, change func(*Metadata)) error {
	done := make(chan error, 1)
	select {
	case l.moves <- moveRequest{ctx: ctx, change: change, done: done}:
		return <-done
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	case <-ctx.Done():
		return fmt.Errorf("%w: an earlier move still waits: %w", context.Cause(ctx), ErrUnavailable)
	}
}
