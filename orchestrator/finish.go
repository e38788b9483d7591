package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// finish is the last phase. failure is what the client will be told.
func (r *run) finish(ctx context.Context, failure error) error {
	err := r.observe("finish", func() (err error) {
		failure, err = r.conclude(ctx, failure)
		return err
	})
	r.ended(outcome(failure, err), failure)
	return err
}

// conclude records how the job ended and then says it: the terminal event is stored, then the metadata, and only then do
// readers see it. A replaced worker says nothing; the one that replaced it has. told is the failure that was said.
func (r *run) conclude(ctx context.Context, failure error) (told, err error) {
	if replaced(ctx, failure) {
		r.log.Abandon()
		return storage.ErrReplaced, storage.ErrReplaced
	}
	if err := r.undelivered(); err != nil {
		r.notice("", "%v", err)
	}
	if err := r.log.Finish(r.terminal(failure)); err != nil {
		r.log.Abandon()
		err = fmt.Errorf("write the terminal event: %w", err)
		return err, err
	}
	err = r.record(ctx, failure)
	if replaced(ctx, err) {
		r.log.Abandon()
		return storage.ErrReplaced, storage.ErrReplaced
	}
	if err != nil && failure == nil {
		err = fmt.Errorf("%w: %w", errSave, err)
		failure = err
		if err := r.log.Finish(r.terminal(failure)); err != nil {
			r.logger.Error().Err(err).Msg("terminal event not rewritten")
		}
	}
	r.log.Reveal()
	r.said(r.terminal(failure))
	r.logEnd(failure)
	return failure, err
}

func replaced(ctx context.Context, err error) bool {
	return errors.Is(err, storage.ErrReplaced) || errors.Is(context.Cause(ctx), storage.ErrReplaced)
}

// record stores the log to its last line, and then that the job is over, which frees the session.
func (r *run) record(ctx context.Context, failure error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.SaveTimeout, errSaveTimeout)
	defer cancel()
	if err := r.lease.Flush(ctx); err != nil {
		return fmt.Errorf("store the event log: %w", err)
	}
	err := r.lease.End(ctx, func(m *storage.Metadata) {
		if r.unnamed != nil { // storage is back, too late for the client to be told
			r.unnamed(m)
		}
		m.Status = storage.StatusCompleted
		if failure != nil {
			m.Status = storage.StatusFailed
		}
		if m.GitHub != nil && r.pushed != "" {
			m.GitHub.Branch, m.GitHub.Pushed = r.branch, r.pushed
		}
		m.Usage.Add(usage(r.result.Usage))
	})
	if err != nil {
		return fmt.Errorf("store the session's end: %w", err)
	}
	return nil
}

// terminal builds the job's last event from what really happened.
func (r *run) terminal(failure error) event.Body {
	var pushed *bool
	if r.commit.New {
		done := r.pushed != ""
		pushed = &done
	}
	if failure != nil {
		return event.Failed{
			Error: failure.Error(), Code: CodeOf(failure), SessionID: r.id,
			Branch: r.branch, CommitHash: r.commit.Hash, Pushed: pushed, RetryAfter: retryAfter(failure),
		}
	}
	c := event.Completed{
		SessionID: r.id, DurationMS: r.cfg.Now().Sub(r.begun).Milliseconds(),
		Branch: r.branch, CommitHash: r.commit.Hash, Pushed: pushed,
	}
	if r.result.Usage != (providers.Usage{}) {
		u := usage(r.result.Usage)
		c.Usage = &u
	}
	return c
}

func usage(u providers.Usage) event.Usage { return event.Usage(u) }

func (r *run) logEnd(failure error) {
	r.logger.Info().Str("code", string(codeOf(failure))).Str("failure", r.words(failure)).Dur("took", r.cfg.Now().Sub(r.begun)).
		Str("branch", r.branch).Str("pushed", r.pushed).Msg("job ended")
}
