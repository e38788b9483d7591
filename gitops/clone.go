package gitops

import (
	"context"
	"errors"
	"fmt"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/fetch"
	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/remote"
	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
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
	m := startMeter(refs.begun(), progress)
	defer m.stop()
	ctx, cancel := g.cfg.Limits.within(ctx)
	defer cancel()
	if err := repo.clone(ctx, refs, m); err != nil {
		return nil, errors.Join(fmt.Errorf("clone: %w", err), repo.Close())
	}
	return repo, nil
}

func (r *Repo) clone(ctx context.Context, refs Refs, m *meter) error {
	r.branch = refs.Branch
	got, err := r.download(ctx, refs, m)
	switch {
	case err != nil:
		return err
	case refs.Empty:
		return r.co.write(ctx, []gitFile{text("config", r.co.config(r.remote.URL, refs.Branch))})
	}
	r.start, r.base, r.known = got.Head, got.Head, []string{got.Head}
	m.set(80, "Copying objects")
	if err := r.fill(ctx, refs, got); err != nil {
		return fmt.Errorf("fill the checkout: %w", err)
	}
	m.set(90, "Checking out files")
	if err := r.co.run(ctx, "reset", "-q", "--hard"); err != nil {
		return fmt.Errorf("check out: %w", starved(err))
	}
	return nil
}

// download fetches into the vault and makes an empty checkout meanwhile.
func (r *Repo) download(ctx context.Context, refs Refs, m *meter) (got fetch.Result, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	made := make(chan error, 1)
	go func() {
		err := r.co.initialize(ctx, refs.Branch)
		if err != nil {
			err = fmt.Errorf("make the checkout: %w", err)
			cancel(err)
		}
		made <- err
	}()
	if !refs.Empty {
		got, err = r.fetch(ctx, remote.Want{Branch: refs.Branch, Depth: 1}, m)
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

// fetch gets a branch into the vault, by a process that can be killed.
func (r *Repo) fetch(ctx context.Context, want remote.Want, m *meter) (fetch.Result, error) {
	cfg := r.git.cfg
	got, err := fetch.Run(ctx, fetch.Order{
		Repo: r.remote, Policy: r.git.policy, Stall: cfg.Stall, Want: want, Vault: r.vault, Limits: cfg.Limits.ofVault(), Env: cfg.Env,
	}, m)
	if errors.Is(err, remote.ErrNoBranch) {
		return fetch.Result{}, &BranchNotFoundError{Branch: want.Branch}
	}
	return got, err
}

// fill writes the pack and all that makes git find it. git init has made the rest.
func (r *Repo) fill(ctx context.Context, refs Refs, got fetch.Result) error {
	files := []gitFile{text("config", r.co.config(r.remote.URL, refs.Branch)), text("packed-refs", packedRefs(refs.Branch, got.Head))}
	if refs.Branch == refs.Default {
		files = append(files, text("refs/remotes/origin/HEAD", "ref: refs/remotes/origin/"+refs.Branch+"\n"))
	}
	if len(got.Shallows) > 0 {
		files = append(files, text("shallow", vault.Lines(got.Shallows)))
	}
	return r.toCheckout(ctx, []string{got.Pack}, files...)
}

const packedRefsHeader = "# pack-refs with: peeled fully-peeled sorted \n"

// packedRefs are the branch and its remote-tracking one, sorted by name as git wants them.
func packedRefs(branch, head string) string {
	return packedRefsHeader + fmt.Sprintf("%s refs/heads/%s\n%s refs/remotes/origin/%s\n", head, branch, head, branch)
}
