package gitops

import (
	"context"
	"fmt"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
)

// Rebase puts the commits of the checkout on top of those that the host has on the branch, and returns the new HEAD, for
// another Push. Where they stand against each other it is ErrConflict with the names of the files, and the checkout is as
// it was. It runs as the agent, without hooks; merges of the agent's become straight.
func (r *Repo) Rebase(ctx context.Context, branch string) (hash string, err error) {
	m := startMeter("Fetching "+branch, nil)
	defer m.stop()
	hash, err = r.rebase(ctx, branch, m)
	if err != nil {
		return "", fmt.Errorf("rebase on %s: %w", branch, err)
	}
	return hash, nil
}

func (r *Repo) rebase(ctx context.Context, branch string, m *meter) (string, error) {
	s, err := r.here(ctx, branch)
	if err != nil {
		return "", err
	}
	known, err := r.vault.Commits(ctx, []string{s.tip})
	if err != nil {
		return "", err
	}
	if len(known) == 0 {
		if s.tip, err = r.fetchNew(ctx, s, m); err != nil {
			return "", err
		}
	}
	if err := r.onto(ctx, s.tip); err != nil {
		return "", err
	}
	head, _, err := r.co.head(ctx)
	if err != nil {
		return "", r.co.explain(ctx, err)
	}
	r.known, r.base = append(r.known, s.tip), s.tip
	return head, nil
}

// here is the session's branch, here and on the host.
func (r *Repo) here(ctx context.Context, branch string) (state, error) {
	head, _, err := r.co.head(ctx)
	if err != nil {
		return state{}, r.co.explain(ctx, err)
	}
	listing, err := r.git.list(ctx, r.remote)
	if err != nil {
		return state{}, err
	}
	tip := listing.Branches[branch]
	if tip == "" {
		return state{}, fmt.Errorf("%w: there is no such branch any more", ErrConflict)
	}
	shallows, err := r.co.shallows(ctx)
	if err != nil {
		return state{}, err
	}
	shallows, err = r.vault.Commits(ctx, shallows)
	return state{branch: branch, head: head, tip: tip, shallows: shallows}, err
}

// onto rebases, or leaves everything as it was.
func (r *Repo) onto(ctx context.Context, tip string) error {
	if !vault.IsHash(tip) {
		return fmt.Errorf("%w: %.60q is no commit", ErrBadObjects, tip)
	}
	// One that the agent left half way would be in the way, and HEAD has what there was of it.
	if err := r.co.run(ctx, "rebase", "--quit"); exitCode(err) < 0 {
		return err
	}
	rebase := r.co.git("rebase", "-q", "--no-stat", "--no-autostash", "--no-gpg-sign", "--no-verify", "--empty=drop", tip)
	rebase.Env = append(rebase.Env, "GIT_SEQUENCE_EDITOR=true")
	err := rebase.Run(ctx)
	if err == nil || exitCode(err) < 0 {
		return err
	}
	files, listErr := r.co.git("diff", "--name-only", "--diff-filter=U", "-z").Output(ctx)
	if abortErr := r.co.run(ctx, "rebase", "--abort"); abortErr != nil && len(files) > 0 {
		return fmt.Errorf("undo the rebase: %w", abortErr)
	}
	if names := conflicts(string(files)); listErr == nil && names != "" {
		return fmt.Errorf("%w: both changed %s", ErrConflict, names)
	}
	return fmt.Errorf("%w: %w", ErrConflict, err)
}

// conflicts are the names of some files, for people.
func conflicts(files string) string {
	const most = 5
	var names []string
	for name := range strings.SplitSeq(strings.TrimRight(files, "\x00"), "\x00") {
		if name == "" {
			continue
		}
		if len(names) == most {
			names = append(names, "and more")
			break
		}
		names = append(names, words(name))
	}
	return strings.Join(names, ", ")
}
