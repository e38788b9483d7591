package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

const restorePause = 200 * time.Millisecond

// restore brings a stored workspace back. When storage goes away over it, it begins again, as long as SaveTimeout.
func (r *run) restore(ctx context.Context) error {
	ref := r.lease.Metadata().Snapshot
	if ref == nil {
		return nil
	}
	r.notice("restore", "Restoring the session: %s", files(ref.Files))
	var since time.Time // when it was first found to be away
	for {
		err := r.cfg.Snapshots.Restore(ctx, r.agent, r.workspace, *ref, r.lease.Objects())
		if err == nil {
			r.restored += ref.Bytes
			return nil
		}
		if errors.Is(err, snapshot.ErrMissing) && r.allPushed() {
			return r.forget(ctx)
		}
		if since.IsZero() {
			since = r.cfg.Now()
		}
		if !errors.Is(err, storage.ErrUnavailable) || r.cfg.Now().Sub(since) >= r.cfg.SaveTimeout {
			return err
		}
		if err := r.restoreAgain(ctx, err); err != nil {
			return err
		}
	}
}

// allPushed tells whether the session's latest commit was seen on the remote.
func (r *run) allPushed() bool {
	g := r.lease.Metadata().GitHub
	return g != nil && g.Pushed != "" && g.Pushed == g.Head
}

// forget goes on without the session's files, if they are not gone because a successor has replaced them.
func (r *run) forget(ctx context.Context) error {
	if err := r.hold(ctx); err != nil {
		return err
	}
	r.notice("restore", "The session's stored files are gone: starting from its branch, without what is on no branch")
	r.forgotten = true
	return nil
}

// restoreAgain takes away what has come already, which may be cut in the middle, and waits a moment.
func (r *run) restoreAgain(ctx context.Context, err error) error {
	r.logger.Warn().Err(err).Msg("storage away, restoring again")
	if err := r.clearWorkspace(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(restorePause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
