package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// Sessions is what a run needs of the session store.
type Sessions interface {
	Acquire(ctx context.Context, id string, mustExist bool, init func(*storage.Metadata) error) (*storage.Lease, error)
}

// Git is what a run needs of the package gitops.
type Git interface {
	Preflight(ctx context.Context, r gitops.Remote, branch string) (gitops.Refs, error)
	Clone(ctx context.Context, agent *agentproc.Agent, r gitops.Remote, refs gitops.Refs, dir string, progress func(gitops.Progress)) (*gitops.Repo, error)
	Reopen(ctx context.Context, agent *agentproc.Agent, r gitops.Remote, dir, branch string, progress func(gitops.Progress)) (*gitops.Repo, gitops.Moved, error)
}

// Sink passes a job's events on to somewhere else: a database of the client's own. It never blocks and cannot fail the job.
type Sink interface {
	// Follow begins to deliver what the log holds and will hold, and returns at once. undelivered says what could not be
	// delivered so far, in words for the job's client; nil where nothing stands in the way.
	Follow(ctx context.Context, session string, token secret.String, log *eventlog.Log) (undelivered func() error)
}

// Config is what an Orchestrator works with; every field but JobTimeout, IdleTimeout, Secrets, Database and Observers is needed.
type Config struct {
	Sessions     Sessions
	Git          Git
	Snapshots    snapshot.Archiver
	Workspaces   string                                          // the folder of the workspaces, in which the agent can write
	StateDir     string                                          // the worker's own files
	Agents       func(context.Context) (*agentproc.Agent, error) // an agent of the job's own, without a scrubber yet
	Secrets      []secret.String                                 // the worker's own, scrubbed from everything that a job says
	GitToken     func(repoURL string) secret.String
	Database     Sink // of jobs that name one; nil: there is none
	Observers    []Observer
	BranchPrefix string
	ContainerID  string
	JobTimeout   time.Duration // of start to assist; 0: none
	IdleTimeout  time.Duration // of an agent that prints nothing while no tool of it runs; 0: none
	SaveTimeout  time.Duration // how long a restore and the end of a run try to reach storage
	PushTimeout  time.Duration // bounds the push
	EndTimeout   time.Duration // bounds the commit, and what is left of the push once somebody wants the job to end
	Now          func() time.Time
	NewID        func() string
	Log          zerolog.Logger
}

// Orchestrator runs jobs; one at a time in a worker, but it is safe for concurrent use.
type Orchestrator struct {
	cfg Config
}

// New makes an Orchestrator.
func New(cfg Config) *Orchestrator { return &Orchestrator{cfg: cfg} }

// Run does the whole job. An error means that it could not be started: ready was not called, nothing was emitted and
// nothing is left, so the worker can take another job. Once ready has been called, everything that happens is told by
// the job's log, and Run returns nil when the job came to its end, failed or not; the error then is the worker's own:
// storage.ErrReplaced where another worker took the session over, or storage that could not be reached.
// Cancel ctx with one of the Err causes: the agent is stopped, the work is saved and pushed, and the cause is told.
func (o *Orchestrator) Run(ctx context.Context, job Job, ready func(Started)) error {
	r, err := o.start(ctx, job)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer r.close()
	r.follow(ctx)
	ready(Started{SessionID: r.id, Attempt: r.lease.Attempt(), Log: r.log})

	work, stop := r.working(ctx)
	defer stop()
	failure := r.work(work)

	end, stopEnd := r.ending(ctx)
	defer stopEnd()
	if err := r.end(end, failure); err != nil {
		r.logger.Warn().Err(err).Msg("the job's end is not stored")
		return err
	}
	return nil
}

// working bounds the phases up to the agent's end: by the job's time, by an abort asked for on another worker,
// and by the loss of the lease.
func (r *run) working(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	stopTimer := func() bool { return true }
	if r.cfg.JobTimeout > 0 {
		stopTimer = time.AfterFunc(r.cfg.JobTimeout, func() { cancel(ErrTimeout) }).Stop
	}
	go func() {
		select {
		case <-r.lease.Aborted():
			cancel(ErrAborted)
		case <-r.lease.Done():
			cancel(r.lease.Err())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { stopTimer(); cancel(nil) }
}

// ending outlives whatever ended the work; only the loss of the lease cuts it short.
func (r *run) ending(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	go func() {
		select {
		case <-r.lease.Done():
			cancel(r.lease.Err())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// work is the part of a job that may be cut short: each phase returns the first error, or the cause of the cut.
func (r *run) work(ctx context.Context) error {
	r.say(r.connected())
	for _, notice := range r.job.Notices {
		r.notice("", "%s", notice)
	}
	for _, phase := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"restore", r.restore},
		{"clone", r.clone},
		{"assist", r.assist},
	} {
		if err := r.phase(ctx, phase.name, phase.do); err != nil {
			return err
		}
	}
	return nil
}

// phase runs one phase, and prefers the cause of a cut to the error that the cut made. Of two causes the first one wins.
func (r *run) phase(ctx context.Context, name string, do func(context.Context) error) error {
	return r.observe(name, func() error {
		err := do(ctx)
		if cause := context.Cause(ctx); err != nil && cause != nil && !isCut(err) {
			err = cause
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, r.explain(err))
		}
		return nil
	})
}

// isCut reports whether err is a cause by which a run is cut short.
func isCut(err error) bool {
	return slices.ContainsFunc([]error{ErrAborted, ErrTimeout, ErrShutdown, storage.ErrReplaced}, func(cause error) bool {
		return errors.Is(err, cause)
	})
}
