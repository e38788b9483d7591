package gitops

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/remote"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// Clone fetches the newest commit of refs.Branch and makes a checkout of it at dir, which must not exist and whose
// parent the agent can write. The checkout stands on its own, knows the clean URL as its origin and is on that branch;
// an empty repository makes an empty one. Progress (may be nil) is called by one goroutine at a time, at least every
// second, and not after the return. After an error dir may be half made; it is the caller's to remove, as the agent.
func (g *Git) Clone(
	ctx context.Context, agent *agentproc.Agent, r Remote, refs Refs, dir string, progress func(Progress),
) (*Repo, error) {
	repo, err := g.repo(agent, r, dir)
	if err != nil {
		return nil, fmt.Errorf("clone: %w", err)
	}
	m := startMeter("Connecting", progress)
	defer m.stop()
	if err := repo.clone(ctx, refs, m); err != nil {
		return nil, errors.Join(fmt.Errorf("clone: %w", err), repo.Close())
	}
	return repo, nil
}

func (r *Repo) clone(ctx context.Context, refs Refs, m *meter) error {
	got, err := r.download(ctx, refs, m)
	if err != nil || refs.Empty {
		return err
	}
	r.base, r.known = got.head, []string{got.head}
	m.set(80, "Copying objects")
	if err := r.fill(ctx, got.pack, got.shallows); err != nil {
		return fmt.Errorf("fill the checkout: %w", err)
	}
	m.set(90, "Checking out files")
	if err := r.co.checkOut(ctx, refs, r.base); err != nil {
		return fmt.Errorf("check out: %w", err)
	}
	return nil
}

// download fetches into the vault and makes an empty checkout meanwhile.
func (r *Repo) download(ctx context.Context, refs Refs, m *meter) (got fetched, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	made := make(chan error, 1)
	go func() {
		err := r.co.initialize(ctx, r.remote.URL, refs.Branch)
		if err != nil {
			err = fmt.Errorf("make the checkout: %w", err)
			cancel(err)
		}
		made <- err
	}()
	if !refs.Empty {
		got, err = r.fetch(ctx, remote.Want{Branch: refs.Branch, Depth: 1, Progress: m}, m)
		if err != nil {
			cancel(err)
		}
	}
	return got, errors.Join(err, unless(<-made, err))
}

// unless drops an error that may only follow from another one.
func unless(err, other error) error {
	if other != nil {
		return nil
	}
	return err
}

// fetched is a branch that is in the vault.
type fetched struct {
	head     string
	pack     string   // its file's name
	shallows []string // commits of the pack whose parents are not in it
}

// fetch gets a branch into the vault.
func (r *Repo) fetch(ctx context.Context, want remote.Want, m *meter) (fetched, error) {
	var got fetched
	err := r.git.client.Fetch(ctx, r.remote, want, func(f remote.Fetched) error {
		if want.Depth > 0 {
			if err := r.vault.SetShallow(f.Shallows); err != nil {
				return err
			}
		}
		pack, err := r.vault.Index(ctx, f.Pack, false, 0, m)
		got = fetched{head: f.Head, pack: pack, shallows: f.Shallows}
		return err
	})
	if errors.Is(err, remote.ErrNoBranch) {
		return fetched{}, &BranchNotFoundError{Branch: want.Branch}
	}
	return got, err
}

// fill writes what git needs beside the configuration; the files have nothing to do with one another yet.
func (r *Repo) fill(ctx context.Context, pack string, shallows []string) error {
	copied := make(chan error, 1)
	go func() { copied <- r.toCheckout(ctx, pack) }()
	var err error
	if len(shallows) > 0 {
		list := strings.NewReader(strings.Join(shallows, "\n") + "\n")
		err = r.co.agent.WriteFile(ctx, r.co.path("shallow"), 0o644, list)
	}
	return errors.Join(err, <-copied)
}

// checkOut makes the branch and its remote-tracking one, and writes the files.
func (c checkout) checkOut(ctx context.Context, refs Refs, head string) error {
	cmd := c.git("update-ref", "--stdin")
	var updates strings.Builder
	for _, ref := range []string{"refs/heads/", "refs/remotes/origin/"} {
		fmt.Fprintf(&updates, "create %s%s %s\n", ref, refs.Branch, head)
	}
	cmd.Stdin = strings.NewReader(updates.String())
	if err := cmd.Run(ctx); err != nil {
		return err
	}
	if refs.Branch == refs.Default {
		if err := c.run(ctx, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/"+refs.Branch); err != nil {
			return err
		}
	}
	return c.run(ctx, "reset", "-q", "--hard")
}
