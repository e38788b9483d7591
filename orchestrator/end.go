package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// end keeps what was done: commit, save, push, record, say. Each step is tried whatever became of the one before,
// and the first failure is the one that is told. failure is what ended the work, nil if it succeeded.
func (r *run) end(ctx context.Context, failure error) error {
	failure = first(failure, r.recorder)
	unfinished := failure != nil
	failure = first(failure, r.step(ctx, failure, "commit", func(ctx context.Context) error { return r.commitWork(ctx, unfinished) }))
	saveErr := r.step(ctx, failure, "save", r.save)
	failure = first(failure, saveErr)
	if r.commit.New {
		push := r.push
		if errors.Is(saveErr, storage.ErrUnavailable) {
			push = r.pushUnsaved
		}
		failure = first(failure, r.step(ctx, failure, "push", push))
	}
	return r.finish(ctx, failure)
}

// step runs one part of the end, unless the session belongs to another worker by now. Where another failure will be the
// one that is told, its own is said in words.
func (r *run) step(ctx context.Context, failure error, name string, do func(context.Context) error) error {
	if replaced(ctx, failure) {
		return storage.ErrReplaced
	}
	err := r.phase(ctx, name, do)
	if failure != nil && err != nil {
		r.logger.Warn().Str("phase", name).Str("failure", r.words(err)).Msg("the end of a failed job failed too")
		r.notice(name, "%v", err)
	}
	return err
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// commits reports whether this job's work goes to a branch.
func (r *run) commits() bool { return r.repo != nil && r.job.AutoCommit && r.touched }

// commitWork commits what the agent left uncommitted and takes over what it committed itself.
func (r *run) commitWork(ctx context.Context, unfinished bool) error {
	if !r.commits() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.EndTimeout)
	defer cancel()
	r.say(event.CommitProgress{Stage: event.StageAnalyzing, Message: "Looking at what changed"})
	message := gitops.CommitMessage(r.scrub.Text(r.job.Prompt.Text()), unfinished)
	commit, err := r.repo.Commit(ctx, message, func() {
		r.say(event.CommitProgress{Stage: event.StageGeneratingMessage, Message: "Wrote the commit message", CommitMessage: strings.TrimSpace(message)})
		r.say(event.CommitProgress{Stage: event.StageCommitting, Message: "Committing", Branch: r.branch, CommitMessage: strings.TrimSpace(message)})
	})
	if err != nil {
		return fmt.Errorf("commit the work: %w", err)
	}
	r.commit = commit
	for _, note := range commit.Notes {
		r.notice("commit", "%s", note)
	}
	if !commit.New {
		r.say(event.CommitProgress{Stage: event.StageSkipped, Message: "Nothing to commit", Branch: r.branch})
		return nil
	}
	r.say(event.CommitProgress{
		Stage: event.StageCommitted, Message: "Committed " + files(commit.Files), Branch: r.branch, CommitHash: commit.Hash,
	})
	return nil
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return strconv.Itoa(n) + " files"
}

// errSaveTimeout ends the attempts to reach storage.
var errSaveTimeout = fmt.Errorf("storage did not answer in time: %w", storage.ErrUnavailable)

// save stores the workspace and makes it the session's: from here on a resume finds this job's work.
func (r *run) save(ctx context.Context) error {
	if !r.touched {
		return nil
	}
	ctx, p, stop := r.patient(ctx)
	defer stop()
	ref, err := r.saveSnapshot(ctx, p)
	if err != nil {
		return fmt.Errorf("%w: %w", errSave, err)
	}
	p.moved()
	r.unnamed = func(m *storage.Metadata) {
		m.Snapshot = &ref
		m.Provider, m.ProviderSessionID = r.job.Provider.Info().Name, r.result.SessionID
		if m.GitHub != nil && r.commit.Hash != "" {
			m.GitHub.Head = r.commit.Hash
		}
	}
	if err := r.lease.Update(ctx, r.unnamed); err != nil {
		return fmt.Errorf("%w: %w", errSave, err)
	}
	r.saved, r.unnamed = true, nil
	return nil
}

// saveSnapshot tries until ctx ends while storage is away.
func (r *run) saveSnapshot(ctx context.Context, p *patience) (snapshot.Ref, error) {
	include := []string{"checkout"}
	for _, state := range r.job.Provider.Info().State {
		include = append(include, path.Join("home", state))
	}
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		ref, report, err := r.cfg.Snapshots.Save(ctx, r.agent, r.workspace, include, watched{r.lease.Objects(), p})
		if err == nil {
			r.stored += report.Bytes
			for _, left := range report.Skipped {
				r.notice("save", "Not saved with the session: %s", left)
			}
			return ref, nil
		}
		if !errors.Is(err, storage.ErrUnavailable) {
			return snapshot.Ref{}, err
		}
		r.logger.Warn().Err(err).Msg("storage away, trying again")
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return snapshot.Ref{}, context.Cause(ctx)
		}
	}
}

// push brings the session's commits to its branch and sees them there. Where the branch has moved on, they are put on top
// of what is there, or go to the first free suffix, which is the session's branch from then on.
func (r *run) push(ctx context.Context) error {
	switch err := r.hold(ctx); {
	case errors.Is(err, storage.ErrUnavailable):
		return r.pushUnsaved(ctx)
	case err != nil:
		return err
	}
	return r.pushBy(ctx, func(ctx context.Context) (string, error) {
		err := r.repo.Push(ctx, r.commit.Hash, r.branch)
		switch {
		case errors.Is(err, gitops.ErrNameTaken):
			r.notice("push", "%s cannot be made: %v", r.branch, err)
			return r.pushAside(ctx)
		case errors.Is(err, gitops.ErrDiverged):
			return r.recoverPush(ctx)
		}
		return r.branch, err
	})
}

// pushUnsaved is the push of a run whose session could not be saved, or may be another's: to its branch or not at all,
// because nobody could be told of other commits or of another branch.
func (r *run) pushUnsaved(ctx context.Context) error {
	return r.pushBy(ctx, func(ctx context.Context) (string, error) { return r.branch, r.repo.Push(ctx, r.commit.Hash, r.branch) })
}

// maxRebases bounds the race with others who push to the session's branch.
const maxRebases = 3

// recoverPush pushes to a branch that has other commits. The session is saved again with the rebased ones before they are
// pushed, so that what it holds and what the host shows are the same.
func (r *run) recoverPush(ctx context.Context) (branch string, err error) {
	for range maxRebases {
		hash, err := r.repo.Rebase(ctx, r.branch)
		if errors.Is(err, gitops.ErrUnreachable) {
			return "", err // the session's next job can put them on top; another branch would be for good
		}
		if err != nil {
			r.notice("push", "%s has other commits, and this job's cannot be put on top of them: %v", r.branch, err)
			break
		}
		r.commit.Hash = hash
		r.notice("push", "%s has other commits: this job's are on top of them now, as %.12s", r.branch, hash)
		if err := r.save(ctx); err != nil {
			return "", fmt.Errorf("save the session again: %w", err)
		}
		if err := r.repo.Push(ctx, r.commit.Hash, r.branch); !errors.Is(err, gitops.ErrDiverged) {
			return r.branch, err
		}
	}
	return r.pushAside(ctx)
}

// pushAside makes another branch the session's. Only who holds the session may, and can tell it: a worker that was frozen
// finds commits of its successor on the branch.
func (r *run) pushAside(ctx context.Context) (branch string, err error) {
	if err := r.hold(ctx); err != nil {
		return "", err
	}
	return r.repo.PushAside(ctx, r.commit.Hash, r.branch)
}

// hold makes sure that the session is still this worker's; storage.ErrUnavailable: nobody could be asked in time.
func (r *run) hold(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.SaveTimeout, errSaveTimeout)
	defer cancel()
	if err := r.lease.Valid(ctx); err != nil {
		return fmt.Errorf("hold the lease: %w", err)
	}
	return nil
}

// errPushTimeout ends a push that takes too long.
var errPushTimeout = errors.New("the git host did not take it in time")

// pushing bounds a push: a large one may take its time on a slow line, as long as nobody waits for the worker to go.
func (r *run) pushing(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	tooLong := func() { cancel(errPushTimeout) }
	most := time.AfterFunc(r.cfg.PushTimeout, tooLong)
	go func() {
		select {
		case <-r.told:
		case <-r.lease.Aborted():
		case <-ctx.Done():
			return
		}
		time.AfterFunc(r.cfg.EndTimeout, tooLong)
	}()
	return ctx, func() { most.Stop(); cancel(nil) }
}

func (r *run) pushBy(ctx context.Context, push func(context.Context) (branch string, err error)) error {
	ctx, stop := r.pushing(ctx)
	defer stop()
	r.say(event.CommitProgress{Stage: event.StagePushing, Message: "Pushing to " + r.branch, Branch: r.branch, CommitHash: r.commit.Hash})
	branch, err := push(ctx)
	if err != nil {
		r.say(event.CommitProgress{
			Stage: event.StagePushFailed, Message: "The push failed; " + r.whereElse(), Branch: r.branch,
			CommitHash: r.commit.Hash, Error: err.Error(),
		})
		return fmt.Errorf("%w; %s: %w", errPush, r.whereElse(), err)
	}
	if branch != r.branch {
		r.notice("push", "The work is on %s, which is the session's branch from now on", branch)
	}
	r.branch, r.pushed = branch, r.commit.Hash
	r.say(event.CommitProgress{Stage: event.StagePushed, Message: "Pushed to " + branch, Branch: branch, CommitHash: r.commit.Hash})
	r.say(event.CommitProgress{Stage: event.StageCompleted, Message: "Committed and pushed", Branch: branch, CommitHash: r.commit.Hash})
	return nil
}

// whereElse says what became of work that is not on its branch.
func (r *run) whereElse() string {
	if r.saved {
		return "it is saved in the session, and the session's next job pushes it"
	}
	return "it could not be saved in the session either"
}
