package gitops

import (
	"context"
	"fmt"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
)

// lostSuffix is added to the checkout's name for what is left of a repository that is none any more.
const lostSuffix = ".git-lost"

const mendedNote = "the agent took the checkout's repository away: what it left of the files is committed in a new one, on top of the commit with which the job began"

// commitMended is Commit for a checkout whose repository is gone. The vault still has the commit with which the job
// began, so what the agent made of the files is a change to it, whatever became of the agent's own commits.
func (r *Repo) commitMended(ctx context.Context, message string, committing func()) (Commit, error) {
	if err := r.mend(ctx); err != nil {
		return Commit{}, fmt.Errorf("make a new repository: %w", err)
	}
	c, err := r.commitAll(ctx, message, committing)
	c.Notes = append([]string{mendedNote}, c.Notes...)
	return c, err
}

// mend gives the checkout a new repository and leaves its files alone. What is left of the old one is kept beside it.
func (r *Repo) mend(ctx context.Context) error {
	aside := r.co.agent.Command("mv", "-T", "--backup=numbered", "--", r.co.path(), r.co.dir+lostSuffix)
	aside.Env = r.co.environment()
	if err := aside.Run(ctx); exitCode(err) < 0 { // that there is nothing to move is no error
		return err
	}
	if err := r.co.initialize(ctx, r.branch); err != nil {
		return err
	}
	files := []gitFile{text("config", r.co.config(r.remote.URL, r.branch))}
	if r.start == "" {
		return r.co.write(ctx, files)
	}
	shallows, err := r.vault.Shallows()
	if err != nil {
		return err
	}
	if len(shallows) > 0 {
		files = append(files, text("shallow", vault.Lines(shallows)))
	}
	packs, err := r.vault.Packs()
	if err != nil {
		return err
	}
	files = append(files, text("packed-refs", packedRefsHeader+r.start+" refs/heads/"+r.branch+"\n"))
	if err := r.toCheckout(ctx, packs, files...); err != nil {
		return err
	}
	return r.co.run(ctx, "reset", "-q")
}
