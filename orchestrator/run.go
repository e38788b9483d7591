package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// run is one job in progress. Its fields are written by the phases, which follow one another.
type run struct {
	cfg    Config
	job    Job
	id     string
	logger zerolog.Logger
	begun  time.Time

	scrub *secret.Scrubber
	agent *agentproc.Agent
	lease *storage.Lease
	log   *eventlog.Log

	told        <-chan struct{} // closed when somebody wants the job to end; by an abort on another worker it is not
	undelivered func() error    // what the client's database has not taken

	workspace, home, checkout string // absolute
	made                      bool   // the workspace is this run's
	repo                      *gitops.Repo

	forgotten bool                    // the session's snapshot is gone from storage
	touched   bool                    // the agent may have changed the workspace, so it must be saved
	saved     bool                    // the session names a snapshot with this job's work
	unnamed   func(*storage.Metadata) // makes a stored snapshot the session's, where that could not be done yet
	result    providers.Result        // of the provider, as far as it came
	commit    gitops.Commit
	branch    string // the session's
	pushed    string // the commit that was seen on the remote
	recorder  error  // the event log could not be written

	watches          []Watch
	restored, stored int64 // bytes of files from and to storage
}

// start begins a job, or leaves nothing of it.
func (o *Orchestrator) start(ctx context.Context, job Job) (*run, error) {
	r := &run{cfg: o.cfg, job: job, id: job.SessionID, begun: o.cfg.Now(), told: ctx.Done(), undelivered: func() error { return nil }}
	if r.id == "" {
		r.id = o.cfg.NewID()
	}
	r.logger = o.cfg.Log.With().Str("request", job.RequestID).Str("session", r.id).Str("provider", job.Provider.Info().Name).Logger()
	ctx = r.logger.WithContext(ctx)
	r.scrub = secret.NewScrubber(r.secrets()...)
	r.watch()
	if err := r.observe("start", func() error { return r.take(ctx) }); err != nil {
		r.giveBack(ctx)
		r.ended(JobRefused, err)
		return nil, err
	}
	return r, nil
}

// take takes everything that a job needs before a word is said: the session's lease, the agent's supervisor, the log.
func (r *run) take(ctx context.Context) error {
	leased := make(chan error, 1)
	go func() {
		lease, err := r.cfg.Sessions.Acquire(ctx, r.id, r.job.MustExist, r.initMetadata)
		r.lease = lease
		leased <- err
	}()
	agentErr := r.startAgent(ctx)
	if err := <-leased; err != nil {
		return err
	}
	if agentErr != nil {
		return agentErr
	}
	if err := r.prepareWorkspace(ctx); err != nil {
		return err
	}
	name := fmt.Sprintf("events-%s-%d.jsonl", r.id, r.lease.Attempt())
	var err error
	r.log, err = eventlog.Create(eventlog.Config{
		Path: filepath.Join(r.cfg.StateDir, name), Attempt: r.lease.Attempt(), Now: r.cfg.Now, Scrub: r.scrub.Bytes,
	})
	if err != nil {
		return fmt.Errorf("create the event log: %w", err)
	}
	r.lease.Ship(r.log)
	return nil
}

// startAgent also tries to make the workspace, while the lease is being asked for: it costs a process, and only a session
// that was never on this machine has no folder yet.
func (r *run) startAgent(ctx context.Context) error {
	agent, err := r.cfg.Agents(ctx)
	if err != nil {
		return fmt.Errorf("start the agent's supervisor: %w", err)
	}
	agent.SetScrubber(r.scrub)
	r.agent = agent
	r.workspace = filepath.Join(r.cfg.Workspaces, r.id)
	r.home = filepath.Join(r.workspace, "home")
	r.made = agent.Command("mkdir", "-m", "0700", "--", r.workspace, r.home).Run(ctx) == nil
	return nil
}

// secrets are all that must never leave this worker in anything the job says.
func (r *run) secrets() []secret.String {
	all := append(slices.Clone(r.cfg.Secrets), r.job.Credential)
	if lister, ok := r.job.Provider.(providers.SecretLister); ok {
		all = append(all, lister.Secrets(r.job.Credential)...)
	}
	if r.job.Repo != nil {
		all = append(all, r.job.Repo.Token)
	}
	if r.job.Database != nil {
		all = append(all, r.job.Database.Token)
	}
	return all
}

// follow lets the client's database have the events, where the job names one.
func (r *run) follow(ctx context.Context) {
	if r.cfg.Database == nil || r.job.Database == nil {
		return
	}
	session := cmp.Or(r.job.Database.SessionID, r.id)
	r.undelivered = r.cfg.Database.Follow(r.logger.WithContext(ctx), session, r.job.Database.Token, r.log)
}

// initMetadata is called with the session's metadata as it is about to be taken: new and empty, or stored.
func (r *run) initMetadata(m *storage.Metadata) error {
	if r.job.Repo != nil {
		switch {
		case m.GitHub == nil && m.Attempt > 1:
			return &RepoMismatchError{Stored: "no repository", Requested: r.job.Repo.URL}
		case m.GitHub == nil:
			m.GitHub = &storage.GitHub{
				RepoURL: r.job.Repo.URL, BaseBranch: r.job.Repo.Branch, ClonedPath: path.Join("checkout", r.directory()),
			}
		case !gitops.SameRepo(m.GitHub.RepoURL, r.job.Repo.URL):
			return &RepoMismatchError{Stored: m.GitHub.RepoURL, Requested: r.job.Repo.URL}
		}
	}
	// Another provider is the session's from its first save on: until then the conversation is that of the snapshot.
	m.Provider = cmp.Or(m.Provider, r.job.Provider.Info().Name)
	return nil
}

// directory is the name of the checkout's folder, for a new session.
func (r *run) directory() string {
	if r.job.Repo.Directory != "" {
		return r.job.Repo.Directory
	}
	_, name := gitops.RepoName(r.job.Repo.URL)
	return name
}

// emptyCheckout is the folder of a job without a repository.
const emptyCheckout = "checkout/work"

// prepareWorkspace makes sure of an empty workspace. Where something stands in the way (a crash's leftovers, a missing
// WORKSPACE_DIR) it may be removed now that the session is this worker's.
func (r *run) prepareWorkspace(ctx context.Context) error {
	cloned := emptyCheckout
	if g := r.lease.Metadata().GitHub; g != nil {
		cloned = g.ClonedPath
		r.branch = g.Branch
	}
	r.checkout = filepath.Join(r.workspace, filepath.FromSlash(cloned))
	if r.made {
		return nil
	}
	r.made = true
	if err := agentproc.PrepareDir(ctx, r.agent, r.cfg.Workspaces); err != nil {
		return fmt.Errorf("prepare WORKSPACE_DIR: %w", err)
	}
	return r.clearWorkspace(ctx)
}

// clearWorkspace makes an empty one of whatever is there.
func (r *run) clearWorkspace(ctx context.Context) error {
	if err := r.agent.RemoveAll(ctx, r.workspace); err != nil {
		return fmt.Errorf("clear the workspace: %w", err)
	}
	if err := r.agent.MkdirAll(ctx, r.home); err != nil {
		return fmt.Errorf("make the workspace: %w", err)
	}
	return nil
}

// giveBack undoes a start that failed, so that the session is free for the next try.
func (r *run) giveBack(ctx context.Context) {
	if r.lease != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.SaveTimeout)
		defer cancel()
		if err := r.lease.End(ctx, func(*storage.Metadata) {}); err != nil {
			r.logger.Warn().Err(err).Msg("lease not given back")
		}
	}
	r.close()
}

// close leaves nothing behind on this machine: no process, no workspace, no vault, no log. But a session that is another
// worker's by now may have its workspace in the same place, where workers share a disk.
func (r *run) close() {
	ctx := context.Background()
	if r.lease != nil {
		r.lease.Close()
	}
	if r.log != nil {
		r.warn(r.log.Close(), "event log not removed")
	}
	if r.repo != nil {
		r.warn(r.repo.Close(), "vault not removed")
	}
	if r.agent != nil {
		r.warn(r.agent.KillAll(ctx), "agent not stopped")
		if r.made && (r.lease == nil || r.lease.Err() == nil) {
			r.warn(r.agent.RemoveAll(ctx, r.workspace), "workspace not removed")
		}
		r.warn(r.agent.Close(), "supervisor not stopped")
	}
}

func (r *run) warn(err error, msg string) {
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.logger.Warn().Err(err).Msg(msg)
	}
}

// say records an event. The log scrubs it, numbers it and shows it to readers; a log that cannot be written fails the job.
func (r *run) say(b event.Body) {
	_, err := r.log.Append(b)
	switch {
	case err == nil:
		r.said(b)
	case r.recorder == nil:
		r.recorder = fmt.Errorf("%w: %w", errLog, err)
		r.logger.Error().Err(err).Msg("event lost")
	}
}

// notice says something in words.
func (r *run) notice(stage, format string, args ...any) {
	r.say(event.Notice{Message: fmt.Sprintf(format, args...), Stage: stage})
}

func (r *run) connected() event.Connected {
	c := event.Connected{
		SessionID: r.id, Resuming: r.lease.Resumed(), Provider: r.job.ProviderName, ContainerID: r.cfg.ContainerID,
	}
	if c.Resuming {
		c.ResumedFrom = r.id
	}
	return c
}
