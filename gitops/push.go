package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/remote"
	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
)

const (
	maxRaces   = 5 // lost against others who push to the same branch
	maxOutages = 3
)

var errRaced = errors.New("the branch was moved meanwhile")

// Push brings a commit of the checkout to a branch of the host, as a fast-forward or as a new branch, never by force,
// and returns only when the host shows it there. Where the branch has other commits it is ErrDiverged: see Rebase and
// PushAside. Where its name is that of a folder of branches, or has a branch for a folder, it is ErrNameTaken. What the host turns down by a rule of its own is ErrPushRejected
// with its words. Outages are waited out for some seconds.
func (r *Repo) Push(ctx context.Context, hash, branch string) error {
	_, err := r.push(ctx, &push{repo: r, hash: hash, own: branch, name: branch})
	return err
}

// PushAside is Push, but a commit that cannot go to the branch goes to the first of <branch>-2, <branch>-3, … that does not
// exist. It returns the name of the one that it went to.
func (r *Repo) PushAside(ctx context.Context, hash, branch string) (pushed string, err error) {
	return r.push(ctx, &push{repo: r, hash: hash, own: branch, name: branch, aside: true})
}

func (r *Repo) push(ctx context.Context, p *push) (pushed string, err error) {
	hash, branch := p.hash, p.own
	if err := ValidBranch(branch); err != nil {
		return "", fmt.Errorf("push: %w", err)
	}
	if !vault.IsHash(hash) {
		return "", fmt.Errorf("push: %.60q is no commit", hash)
	}
	if err := r.takeOver(ctx, hash); err != nil {
		return "", fmt.Errorf("push: %w", err)
	}
	for {
		err := p.try(ctx)
		if err == nil {
			return p.name, nil
		}
		if err = p.recover(ctx, err); err != nil {
			return "", fmt.Errorf("push to %s: %w", p.name, err)
		}
	}
}

// takeOver brings the commit into the vault unless it is there.
func (r *Repo) takeOver(ctx context.Context, hash string) error {
	here, err := r.vault.Commits(ctx, []string{hash})
	if err != nil || len(here) > 0 {
		return err
	}
	err = r.toVault(ctx, handOver{commit: hash, have: r.known, limit: r.git.cfg.Limits.Bytes})
	if errors.Is(err, ErrBadCheckout) || errors.Is(err, ErrBadObjects) {
		err = r.takeOverAll(ctx, hash)
	}
	if err != nil {
		return fmt.Errorf("hand the commits over: %w", err)
	}
	here, err = r.vault.Commits(ctx, []string{hash})
	if err == nil && len(here) == 0 {
		err = fmt.Errorf("hand the commits over: %w: the commit is not among them", ErrBadObjects)
	}
	return err
}

// takeOverAll brings all that a commit reaches into the vault, for a checkout that has another history than the vault:
// the agent has made a repository of its own, or fetched more.
func (r *Repo) takeOverAll(ctx context.Context, hash string) error {
	theirs, err := r.co.shallows(ctx)
	if err != nil {
		return err
	}
	ours, err := r.vault.Shallows()
	if err != nil {
		return err
	}
	all := append(ours, theirs...)
	slices.Sort(all)
	if err := r.vault.SetShallow(slices.Compact(all)); err != nil {
		return err
	}
	return r.toVault(ctx, handOver{commit: hash, limit: 2 * r.git.cfg.Limits.Bytes})
}

// push is one commit on its way, with what was tried so far.
type push struct {
	repo    *Repo
	hash    string
	own     string // the session's branch
	aside   bool   // another branch will do
	name    string // the one tried at present
	races   int
	outages int
	whole   bool // send what the host does not show, though it should have it
}

// recover decides whether another try can help, and returns nil if so.
func (p *push) recover(ctx context.Context, err error) error {
	var rejection *remote.Rejection
	switch {
	case errors.Is(err, errRaced) && p.races < maxRaces:
		p.races++
	case errors.As(err, &rejection) && rejection.Links && !p.whole:
		p.whole = true
	case errors.As(err, &rejection):
		return fmt.Errorf("%w: %w", ErrPushRejected, rejection)
	case errors.Is(err, ErrUnreachable) && ctx.Err() == nil && p.outages < maxOutages:
		p.outages++
		return wait(ctx, time.Second<<(p.outages-1))
	default:
		return err
	}
	return nil
}

// try pushes once.
func (p *push) try(ctx context.Context) error {
	pusher, listing, err := p.repo.git.client.OpenPush(ctx, p.repo.remote)
	if err != nil {
		return err
	}
	if listing.Branches[p.name] == p.hash {
		return nil // pushed before, and the answer was lost
	}
	allowed, err := p.allowed(ctx, listing)
	if err != nil {
		return err
	}
	if !allowed && !p.aside {
		return p.obstacle(listing)
	}
	if !allowed {
		p.name = free(listing.Branches, p.own, 2)
	}
	have, err := p.have(ctx, listing)
	if err != nil {
		return err
	}
	old := listing.Branches[p.name]
	if err := p.send(ctx, pusher, old, have); err != nil {
		return p.judge(ctx, old, err)
	}
	return p.verify(ctx)
}

// allowed reports whether the present name is that of a new branch, or a fast-forward of the session's own.
func (p *push) allowed(ctx context.Context, listing remote.Listing) (bool, error) {
	old := listing.Branches[p.name]
	if old == "" {
		return !taken(listing.Branches, p.name), nil
	}
	if p.name != p.own {
		return false, nil
	}
	here, err := p.repo.vault.Commits(ctx, []string{old})
	if err != nil || len(here) == 0 {
		return false, err
	}
	return p.repo.vault.IsAncestor(ctx, old, p.hash)
}

// obstacle says why the branch may not be pushed to.
func (p *push) obstacle(listing remote.Listing) error {
	for other := range listing.Branches {
		if hides(p.name, other) {
			return fmt.Errorf("%w %s", ErrNameTaken, other)
		}
	}
	return ErrDiverged
}

// have are the commits that the pack need not hold: those that the host shows, and those that it was seen to have.
func (p *push) have(ctx context.Context, listing remote.Listing) ([]string, error) {
	have, err := p.repo.vault.Commits(ctx, listing.Tips)
	if err != nil || p.whole {
		return have, err
	}
	have = append(have, p.repo.known...)
	slices.Sort(have)
	return slices.Compact(have), nil
}

func (p *push) send(ctx context.Context, pusher *remote.Pusher, old string, have []string) error {
	pack, err := p.repo.vault.Pack(ctx, p.hash, have)
	if err != nil {
		return err
	}
	defer pack.Close()
	info, err := pack.Stat()
	if err != nil {
		return err
	}
	return pusher.Send(ctx, remote.Update{Branch: p.name, Old: old, New: p.hash, Pack: pack, Size: info.Size()})
}

// judge looks at the host after a push that failed: the answer may have been lost, or somebody was faster.
func (p *push) judge(ctx context.Context, old string, err error) error {
	listing, listErr := p.repo.git.list(ctx, p.repo.remote)
	if listErr != nil {
		return err
	}
	switch now := listing.Branches[p.name]; {
	case now == p.hash:
		return nil
	case now != old:
		return errRaced
	}
	return err
}

// verify believes the host's report only when its list says the same.
func (p *push) verify(ctx context.Context) error {
	listing, err := p.repo.git.list(ctx, p.repo.remote)
	if err != nil {
		return err
	}
	if listing.Branches[p.name] != p.hash {
		return fmt.Errorf("%w: it reports success and does not show the commit", ErrUnreachable)
	}
	p.repo.known = append(p.repo.known, p.hash)
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
