package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// clone makes the checkout, or meets the remote again with the restored one. A job without a repository gets an empty folder.
func (r *run) clone(ctx context.Context) error {
	m := r.lease.Metadata()
	if m.GitHub == nil {
		if err := r.agent.Command("mkdir", "-p", "--", r.checkout).Run(ctx); err != nil {
			return fmt.Errorf("make the working folder: %w", err)
		}
		return r.name(ctx, nil)
	}
	reopen := m.Snapshot != nil && !r.forgotten
	remote := gitops.Remote{URL: m.GitHub.RepoURL, Token: r.token(m.GitHub.RepoURL)}
	progress := r.pullProgress()
	progress(gitops.Progress{Message: "Connecting to " + m.GitHub.RepoURL})
	var err error
	if reopen {
		err = r.reopen(ctx, remote, progress)
	} else {
		err = r.cloneAnew(ctx, remote, m.GitHub, progress)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errClone, err)
	}
	return nil
}

// token is the request's, or the worker's own if it may go to that host.
func (r *run) token(repoURL string) secret.String {
	if r.job.Repo != nil && !r.job.Repo.Token.IsZero() {
		return r.job.Repo.Token
	}
	return r.cfg.GitToken(repoURL)
}

// pullProgress says how a clone goes, at most every half second but for changes in words.
func (r *run) pullProgress() func(gitops.Progress) {
	var last time.Time
	var said string
	return func(p gitops.Progress) {
		now := r.cfg.Now()
		if p.Message == said && now.Sub(last) < 500*time.Millisecond {
			return
		}
		last, said = now, p.Message
		r.say(event.PullProgress{Data: event.PullData{Type: event.PullMessage, Message: p.Message, Percent: &p.Percent}})
	}
}

// cloneAnew clones a new session's base, or, for a session whose workspace was never saved, its own branch where the remote has it.
func (r *run) cloneAnew(ctx context.Context, remote gitops.Remote, g *storage.GitHub, progress func(gitops.Progress)) error {
	refs, err := r.preflight(ctx, remote, g)
	if err != nil {
		return err
	}
	r.repo, err = r.cfg.Git.Clone(ctx, r.agent, remote, refs, r.checkout, progress)
	if err != nil {
		return err
	}
	r.pulled()
	return r.name(ctx, &refs)
}

func (r *run) preflight(ctx context.Context, remote gitops.Remote, g *storage.GitHub) (gitops.Refs, error) {
	if g.Branch != "" {
		refs, err := r.cfg.Git.Preflight(ctx, remote, g.Branch)
		if missing := new(gitops.BranchNotFoundError); !errors.As(err, &missing) {
			return refs, err
		}
		r.notice("clone", "The session's branch %s is not on the remote: starting again from its base", g.Branch)
	}
	return r.cfg.Git.Preflight(ctx, remote, g.BaseBranch)
}

func (r *run) pulled() {
	r.say(event.PullProgress{Data: event.PullData{
		Type: event.PullCompleted, Message: "The repository is ready", TargetPath: path.Join("checkout", path.Base(r.checkout)),
	}})
}

// reopen meets the remote again with a restored checkout, and says what happened to the session's branch meanwhile.
func (r *run) reopen(ctx context.Context, remote gitops.Remote, progress func(gitops.Progress)) error {
	repo, moved, err := r.cfg.Git.Reopen(ctx, r.agent, remote, r.checkout, r.branch, progress)
	if err != nil {
		return err
	}
	r.repo = repo
	r.pulled()
	if text := moved.Words(r.branch); text != "" {
		r.notice("clone", "%s", text)
	}
	return nil
}

// name gives a new session its name and, with a repository, its branch; both are told once and kept.
func (r *run) name(ctx context.Context, refs *gitops.Refs) error {
	m := r.lease.Metadata()
	if m.SessionName != "" && (refs == nil || m.GitHub.Branch == refs.Branch) {
		return nil
	}
	name := m.SessionName
	if name == "" {
		name = gitops.SessionName(r.scrub.Text(r.job.Prompt.Text()))
	}
	base := ""
	if refs != nil {
		base = refs.Branch
		if r.branch == "" {
			r.branch = refs.Free(gitops.SessionBranch(r.cfg.BranchPrefix, name, r.id))
		}
		if err := r.repo.StartBranch(ctx, r.branch); err != nil {
			return fmt.Errorf("start branch %s: %w", r.branch, err)
		}
	}
	if err := r.keepName(ctx, name, base); err != nil {
		return err
	}
	if m.SessionName == "" {
		r.say(event.SessionName{SessionName: name, BranchName: r.branch})
		if refs != nil {
			r.say(r.branchCreated(base))
		}
	}
	return nil
}

// keepName stores what a session is called, and its branch, before anybody works on it.
func (r *run) keepName(ctx context.Context, name, base string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.SaveTimeout, errSaveTimeout)
	defer cancel()
	err := r.lease.Update(ctx, func(m *storage.Metadata) {
		m.SessionName = name
		if base != "" {
			m.GitHub.BaseBranch, m.GitHub.Branch = base, r.branch
		}
	})
	if err != nil {
		return fmt.Errorf("store the session's name: %w", err)
	}
	return nil
}

func (r *run) branchCreated(base string) event.BranchCreated {
	owner, repo := gitops.RepoName(r.lease.Metadata().GitHub.RepoURL)
	return event.BranchCreated{
		BranchName: r.branch, BaseBranch: base, ParentBranch: base,
		SessionPath: owner + "__" + repo + "__" + strings.ReplaceAll(r.branch, "/", "-"),
		Message:     fmt.Sprintf("Created branch %s from %s", r.branch, base),
	}
}

// assist lets the provider work, and passes on every line of it. A conversation that the assistant does not know any more
// is begun anew: the files are still there.
func (r *run) assist(ctx context.Context) error {
	r.touched = true
	if m := r.lease.Metadata(); !r.forgotten && m.Provider == r.job.Provider.Info().Name {
		r.result.SessionID = m.ProviderSessionID
	}
	r.notice("assist", "Starting %s", r.job.Provider.Info().Name)
	refused := r.agent.RefusedProcesses()
	err := r.provide(ctx)
	if errors.Is(err, providers.ErrSessionNotFound) && r.result.SessionID != "" && ctx.Err() == nil {
		r.notice("assist", "The assistant's conversation is gone: starting a new one on the session's files")
		r.result.SessionID = ""
		err = r.provide(ctx)
	}
	if r.agent.RefusedProcesses() > refused { // some assistants and scripts go on all the same
		r.notice("assist", "The agent had as many processes as this worker may have: some of its commands were not started")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errProvider, err)
	}
	return nil
}

// provide is one run of the provider, on from the conversation of r.result. It is cut short when the agent is silent for
// too long.
func (r *run) provide(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	silence := watchSilence(r.cfg.IdleTimeout, cancel)
	defer silence.stop()
	result, err := r.job.Provider.Run(ctx, providers.Task{
		Dir: r.checkout, Home: r.home,
		Prompt: r.job.Prompt, ResumeID: r.result.SessionID, Credential: r.job.Credential,
		BaseURL: r.job.BaseURL, Options: r.job.Options, Agent: r.agent,
	}, func(m providers.Message) error {
		silence.broken(m.ToolRuns)
		return r.emit(m)
	})
	if result.SessionID == "" {
		result.SessionID = r.result.SessionID
	}
	r.result = result
	return err
}

func (r *run) emit(m providers.Message) error {
	if m.Kind == providers.KindInit && m.SessionID != "" {
		r.result.SessionID = m.SessionID
	}
	r.say(event.AssistantMessage{Data: m.Raw, Model: m.Model})
	return r.recorder
}
