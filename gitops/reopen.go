package gitops

import (
	"context"
	"errors"
	"fmt"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/remote"
	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// Moved is what became of a session's branch on its host while nobody worked on it.
type Moved int

// The values of Moved.
const (
	MovedNot       Moved = iota // the checkout has everything that the host has
	MovedForward                // the host had more, and now the checkout has it too
	MovedAhead                  // the host has more, but files that are changed in the checkout stand against it
	MovedElsewhere              // the host has commits beside those of the checkout
	MovedAway                   // the host has no such branch: it was never pushed, or is deleted
)

// Words says it to people; empty for MovedNot.
func (m Moved) Words(branch string) string {
	switch m {
	case MovedNot:
	case MovedForward:
		return fmt.Sprintf("%s had moved on: the checkout was fast-forwarded to it", branch)
	case MovedAhead:
		return fmt.Sprintf("%s has moved on, and changed files in the checkout stand against it: the next commits are put on top of it if they can be", branch)
	case MovedElsewhere:
		return fmt.Sprintf("%s has commits that this session does not have: the next ones are put on top of them if they can be", branch)
	case MovedAway:
		return fmt.Sprintf("%s is not on the git host: a push makes it", branch)
	}
	return ""
}

// Reopen takes up a checkout that was restored to dir: it builds a vault from the checkout's own objects, looks what
// the host has of the session's branch, fetches what is new there and fast-forwards the checkout where that takes
// nothing away. Without a repository in dir it is ErrNoCheckout, and the caller can clone again; a damaged one is
// ErrBadCheckout or ErrBadObjects. Progress is as in Clone.
func (g *Git) Reopen(
	ctx context.Context, agent *agentproc.Agent, r Remote, dir, branch string, progress func(Progress),
) (*Repo, Moved, error) {
	if err := ValidBranch(branch); err != nil {
		return nil, MovedNot, fmt.Errorf("reopen: %w", err)
	}
	repo, err := g.repo(agent, r, dir)
	if err != nil {
		return nil, MovedNot, fmt.Errorf("reopen: %w", err)
	}
	m := startMeter("Opening the checkout", progress)
	defer m.stop()
	ctx, cancel := g.cfg.Limits.within(ctx)
	defer cancel()
	moved, err := repo.reopen(ctx, branch, m)
	if err != nil {
		return nil, MovedNot, errors.Join(fmt.Errorf("reopen: %w", err), repo.Close())
	}
	return repo, moved, nil
}

func (r *Repo) reopen(ctx context.Context, branch string, m *meter) (Moved, error) {
	head, unborn, err := r.co.head(ctx)
	if err != nil {
		return MovedNot, r.co.explain(ctx, err)
	}
	r.branch, r.start = branch, head
	listing, err := r.git.list(ctx, r.remote)
	if err != nil {
		return MovedNot, err
	}
	if unborn {
		return MovedAway, nil
	}
	shallows, err := r.rebuild(ctx, head, m)
	if err != nil {
		return MovedNot, err
	}
	if err := r.learn(ctx, listing, shallows); err != nil {
		return MovedNot, err
	}
	tip := listing.Branches[branch]
	if tip == "" {
		return MovedAway, nil
	}
	return r.catchUp(ctx, state{branch: branch, head: head, tip: tip, shallows: shallows}, m)
}

// rebuild fills the vault from the checkout.
func (r *Repo) rebuild(ctx context.Context, head string, m *meter) (shallows []string, err error) {
	if shallows, err = r.co.shallows(ctx); err != nil {
		return nil, err
	}
	if err := r.vault.SetShallow(shallows); err != nil {
		return nil, err
	}
	// The base and what the session has added to it were each within the limit.
	if err := r.toVault(ctx, handOver{commit: head, limit: 2 * r.git.cfg.Limits.Bytes, progress: m}); err != nil {
		return nil, fmt.Errorf("rebuild the vault: %w", err)
	}
	// An agent may list commits that are nowhere; git takes them for a sign of nothing.
	return r.vault.Commits(ctx, shallows)
}

// learn finds out which of the vault's commits the host has: those that it shows, and those at which its history was
// cut when it was cloned.
func (r *Repo) learn(ctx context.Context, listing remote.Listing, shallows []string) error {
	shown, err := r.vault.Commits(ctx, listing.Tips)
	if err != nil {
		return err
	}
	r.known = append(shown, shallows...)
	tracked, err := r.co.output(ctx, "for-each-ref", "--format=%(objectname)", "refs/remotes/origin")
	if err != nil {
		return r.co.explain(ctx, err)
	}
	r.base, err = r.co.newest(ctx, append(fieldsOfHashes(tracked), r.known...))
	return err
}

// state is a session's branch here and there.
type state struct {
	branch   string
	head     string // the checkout's
	tip      string // the host's
	shallows []string
}

// catchUp compares the host's tip with the checkout's and fetches it if it is new.
func (r *Repo) catchUp(ctx context.Context, s state, m *meter) (Moved, error) {
	here, err := r.vault.Commits(ctx, []string{s.tip})
	if err != nil {
		return MovedNot, err
	}
	if len(here) == 0 {
		if s.tip, err = r.fetchNew(ctx, s, m); err != nil {
			return MovedNot, err
		}
	}
	r.known = append(r.known, s.tip)
	behind, err := r.vault.IsAncestor(ctx, s.tip, s.head)
	if err != nil {
		return MovedNot, err
	}
	if behind {
		r.base = s.tip
		return MovedNot, nil
	}
	ahead, err := r.vault.IsAncestor(ctx, s.head, s.tip)
	if err != nil {
		return MovedNot, err
	}
	if !ahead {
		return MovedElsewhere, nil
	}
	return r.fastForward(ctx, s)
}

// fetchNew brings the host's tip into the vault and the checkout, where the agent finds it as origin/<branch>.
func (r *Repo) fetchNew(ctx context.Context, s state, m *meter) (tip string, err error) {
	got, err := r.fetch(ctx, remote.Want{
		Branch: s.branch, Haves: append([]string{s.head}, r.known...), Shallows: s.shallows,
	}, m)
	if err != nil {
		return "", err
	}
	m.set(80, "Copying objects")
	if err := r.toCheckout(ctx, []string{got.Pack}); err != nil {
		return "", fmt.Errorf("fill the checkout: %w", err)
	}
	// For the agent only; a ref of its own or the lock of a dead git may be in the way.
	if err := r.co.run(ctx, "update-ref", "refs/remotes/origin/"+s.branch, got.Head); exitCode(err) < 0 {
		return "", fmt.Errorf("fill the checkout: %w", err)
	}
	return got.Head, nil
}

// fastForward lets git decide whether changed files stand in the way, and believes what HEAD says afterwards.
func (r *Repo) fastForward(ctx context.Context, s state) (Moved, error) {
	mergeErr := r.co.unlocked(ctx, func() error { return r.co.run(ctx, "merge", "-q", "--ff-only", s.tip) })
	if mergeErr != nil && exitCode(mergeErr) < 0 || vault.RanOut(mergeErr) {
		return MovedNot, fmt.Errorf("fast-forward: %w", starved(mergeErr))
	}
	head, _, err := r.co.head(ctx)
	if err != nil {
		return MovedNot, fmt.Errorf("fast-forward: %w", err)
	}
	if head != s.tip {
		return MovedAhead, nil
	}
	r.start, r.base = s.tip, s.tip
	return MovedForward, nil
}
