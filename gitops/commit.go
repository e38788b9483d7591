package gitops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

const (
	maxNotes     = 20
	modeGitlink  = "160000"
	gitAddFailed = 1 // some files could not be added, the others were
)

// Commit is the state of a checkout whose changes are committed.
type Commit struct {
	Hash    string   // of HEAD; empty if there is no commit at all
	New     bool     // it has commits that the host was not seen to have
	Commits int      // how many, the agent's own ones included
	Files   int      // that differ between Base and Hash
	Notes   []string // what could not be committed, or not as one might think, and why; for people
}

// Commit commits everything that git add -A would, on whatever HEAD stands for; with nothing to commit it makes no
// commit, but still tells of the agent's own. Every process of the agent must be gone: locks that are left are taken
// for those of the dead. Hooks do not run. The message is what CommitMessage makes. Where there are changes to commit,
// committing is called before they are; it may be nil.
func (r *Repo) Commit(ctx context.Context, message string, committing func()) (Commit, error) {
	c, err := r.commitAll(ctx, message, committing)
	if errors.Is(err, ErrNoCheckout) {
		c, err = r.commitMended(ctx, message, committing)
	}
	if err != nil {
		return Commit{}, fmt.Errorf("commit: %w", err)
	}
	return c, nil
}

func (r *Repo) commitAll(ctx context.Context, message string, committing func()) (Commit, error) {
	notes, err := r.co.addAll(ctx)
	if err != nil {
		return Commit{}, r.co.explain(ctx, err)
	}
	if err := r.co.commitStaged(ctx, message, committing); err != nil {
		return Commit{}, r.co.explain(ctx, err)
	}
	c, err := r.describe(ctx)
	if err != nil {
		return Commit{}, r.co.explain(ctx, err)
	}
	c.Notes = append(notes, c.Notes...)
	return c, nil
}

// addAll stages what can be staged and says what cannot: a nested repository without a commit, a file that the agent
// cannot read or git cannot convert.
func (c checkout) addAll(ctx context.Context) (notes []string, err error) {
	err = c.unlocked(ctx, func() error { return c.run(ctx, "add", "-A", "--ignore-errors") })
	if exitCode(err) == gitExitFatal && !vault.RanOut(err) {
		return c.addEach(ctx, err)
	}
	return leftOut(err)
}

// leftOut tells a git add that left files out from one that failed.
func leftOut(err error) (notes []string, _ error) {
	var exit *agentproc.ExitError
	if errors.As(err, &exit) && exit.Code == gitAddFailed {
		return complaints(exit.Stderr), nil
	}
	return nil, err
}

// complaints are the lines in which git names what it left out.
func complaints(stderr string) []string {
	var notes []string
	for line := range strings.Lines(stderr) {
		line = words(line)
		what, ok := strings.CutPrefix(line, "error: ")
		if !ok {
			continue
		}
		if len(notes) == maxNotes {
			return append(notes, "and more")
		}
		notes = append(notes, "not committed: "+what)
	}
	return notes
}

func (c checkout) commitStaged(ctx context.Context, message string, committing func()) error {
	err := c.run(ctx, "diff", "--cached", "--quiet", "--no-ext-diff")
	if exitCode(err) != 1 { // 1 is: there are changes
		return err
	}
	if committing != nil {
		committing()
	}
	return c.unlocked(ctx, func() error {
		cmd := c.git("commit", "-q", "--no-verify", "--no-gpg-sign", "--cleanup=whitespace", "-F", "-")
		cmd.Stdin = strings.NewReader(message)
		return cmd.Run(ctx)
	})
}

// describe compares HEAD with what the host has.
func (r *Repo) describe(ctx context.Context) (Commit, error) {
	head, unborn, err := r.co.head(ctx)
	if err != nil || unborn {
		return Commit{}, err
	}
	c := Commit{Hash: head}
	aside := r.aside(ctx)
	if head == r.base {
		c.Notes = aside
		return c, nil
	}
	known := append([]string{"rev-list", "--count", "--ignore-missing", "HEAD", "--not", "--remotes=origin"}, r.known...)
	count, err := r.co.output(ctx, known...)
	if err != nil {
		return Commit{}, err
	}
	if c.Commits, err = strconv.Atoi(count); err != nil {
		return Commit{}, fmt.Errorf("count commits: %w", err)
	}
	c.New = c.Commits > 0
	changed, err := r.co.compare(ctx, cmp.Or(r.base, emptyTree), head)
	if exitCode(err) == gitExitFatal && r.base != "" {
		if changed, err = r.co.compare(ctx, emptyTree, head); err == nil {
			changed.notes = append(changed.notes, unrelatedNote)
		}
	}
	if err != nil {
		return Commit{}, err
	}
	c.Files, c.Notes = changed.files, append(changed.notes, aside...)
	return c, nil
}

// aside tells of the agent's commits that no push takes along, because they are on branches that it left, or stashed.
// What cannot be asked is not told.
func (r *Repo) aside(ctx context.Context) (notes []string) {
	refs, err := r.co.output(ctx, "for-each-ref", "--no-merged=HEAD", "--count="+strconv.Itoa(maxNotes), "--format=%(refname)", "refs/heads", "refs/stash")
	if err != nil {
		return nil
	}
	for ref := range strings.FieldsSeq(refs) {
		args := append([]string{"rev-list", "--count", "--ignore-missing", ref, "--not", "HEAD", "--remotes=origin"}, r.known...)
		count, err := r.co.output(ctx, args...)
		switch branch, isBranch := strings.CutPrefix(ref, "refs/heads/"); {
		case err != nil, count == "0":
		case isBranch:
			notes = append(notes, fmt.Sprintf("not pushed: commits on the agent's branch %s (%s): only what it leaves checked out is", words(branch), count))
		default:
			notes = append(notes, "not committed: what the agent has put into git's stash")
		}
	}
	return notes
}

const unrelatedNote = "the agent made a repository of its own: its commits have no history in common with the git host's"

// compare tells what a commit changes; one that the checkout lacks, as that of a host whose repository the agent has
// replaced, makes git give up.
func (c checkout) compare(ctx context.Context, base, head string) (*changes, error) {
	changed := &changes{}
	diff := c.git("diff", "--raw", "-z", "--no-renames", "--no-abbrev", "--no-ext-diff", base, head)
	diff.Stdout = changed
	return changed, diff.Run(ctx)
}

// newest returns the commit nearest to HEAD that one of these has in common with it; empty if there is none.
func (c checkout) newest(ctx context.Context, commits []string) (string, error) {
	if len(commits) == 0 {
		return "", nil
	}
	base, err := c.output(ctx, append([]string{"merge-base", "HEAD"}, commits...)...)
	if exitCode(err) == 1 {
		return "", nil
	}
	return base, err
}

func fieldsOfHashes(text string) []string {
	var hashes []string
	for _, field := range strings.Fields(text) {
		if vault.IsHash(field) {
			hashes = append(hashes, field)
		}
	}
	return hashes
}
