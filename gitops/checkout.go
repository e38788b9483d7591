package gitops

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// overrides keep the settings that an agent may have made from running anything of theirs or from waiting for somebody.
// What they leave open, as filters, runs under the agent's uid and without a credential, which gains it nothing.
var overrides = []string{
	"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false",
	"-c", "commit.gpgSign=false", "-c", "submodule.recurse=false", "-c", "i18n.commitEncoding=UTF-8", "-c", "advice.addEmbeddedRepo=false",
	"-c", "core.bigFileThreshold=" + vault.BigFile,
}

const (
	gitExitFatal = 128
	emptyTree    = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
)

// checkout is the agent's repository. Its git runs as the agent.
type checkout struct {
	agent       *agentproc.Agent
	dir         string
	name, email string
	memory      int64 // that a git may allocate: commits can be made to need more than there is
}

func (c checkout) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir, ".git"}, elements...)...)
}

func (c checkout) environment() []string {
	return []string{
		"LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_LFS_SKIP_SMUDGE=1",
		"GIT_ALLOW_PROTOCOL=none", "GIT_NO_LAZY_FETCH=1", "GIT_EDITOR=true", "GIT_OPTIONAL_LOCKS=0",
		"GIT_AUTHOR_NAME=" + c.name, "GIT_AUTHOR_EMAIL=" + c.email, "GIT_COMMITTER_NAME=" + c.name, "GIT_COMMITTER_EMAIL=" + c.email,
	}
}

// git names the repository, so that none is looked for in the folders above if the agent removed its own.
func (c checkout) git(args ...string) *agentproc.Cmd {
	cmd := c.agent.Command("git", append(overrides[:len(overrides):len(overrides)], args...)...)
	cmd.Dir, cmd.Memory = c.dir, c.memory
	cmd.Env = append(c.environment(), "GIT_DIR="+c.path(), "GIT_WORK_TREE="+c.dir)
	return cmd
}

func (c checkout) run(ctx context.Context, args ...string) error { return c.git(args...).Run(ctx) }

// starved makes ErrLimit of the end of a git that may not allocate more memory.
func starved(err error) error {
	if vault.RanOut(err) {
		return fmt.Errorf("%w: git needs more memory than it may have: %w", ErrLimit, err)
	}
	return err
}

func (c checkout) output(ctx context.Context, args ...string) (string, error) {
	out, err := c.git(args...).Output(ctx)
	return strings.TrimSpace(string(out)), err
}

// head returns the commit that HEAD stands for, whether or not it is really there; unborn is a branch without one.
func (c checkout) head(ctx context.Context) (hash string, unborn bool, err error) {
	hash, err = c.output(ctx, "rev-parse", "--verify", "-q", "HEAD")
	if exitCode(err) == 1 {
		return "", true, nil
	}
	return hash, false, err
}

// initialize makes an empty repository that is on branch; its configuration comes later.
func (c checkout) initialize(ctx context.Context, branch string) error {
	cmd := c.agent.Command("git", "init", "-q", "--template=", "--initial-branch="+branch, c.dir)
	cmd.Dir, cmd.Env = "/", c.environment()
	return cmd.Run(ctx)
}

// config is what git clone writes for a branch of a clean URL, and who commits.
func (c checkout) config(url, branch string) string {
	refspec := fmt.Sprintf("+refs/heads/%s:refs/remotes/origin/%s", branch, branch)
	return "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n" +
		"[remote \"origin\"]\n\turl = " + quoted(url) + "\n\tfetch = " + quoted(refspec) + "\n" +
		"[branch " + quoted(branch) + "]\n\tremote = origin\n\tmerge = " + quoted("refs/heads/"+branch) + "\n" +
		"[user]\n\tname = " + quoted(c.name) + "\n\temail = " + quoted(c.email) + "\n"
}

// quoted writes a value or a subsection of a git configuration file; control characters are left out.
func quoted(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// unlock removes what a killed git leaves behind. Nobody else may be using the repository.
func (c checkout) unlock(ctx context.Context) error {
	locks := []string{c.path("index.lock"), c.path("HEAD.lock"), c.path("packed-refs.lock")}
	if branch, err := c.output(ctx, "symbolic-ref", "-q", "HEAD"); err == nil {
		locks = append(locks, c.path(filepath.FromSlash(branch)+".lock"))
	}
	rm := c.agent.Command("rm", append([]string{"-rf", "--"}, locks...)...) // which does not wait where .git is a FIFO
	rm.Env = c.environment()
	if err := rm.Run(ctx); exitCode(err) < 0 {
		return err
	}
	return nil // git says it again if a lock is still there
}

// unlocked runs a command, and again without the locks of the dead if git gave up.
func (c checkout) unlocked(ctx context.Context, run func() error) error {
	err := run()
	if exitCode(err) != gitExitFatal {
		return err
	}
	if unlockErr := c.unlock(ctx); unlockErr != nil {
		return errors.Join(err, unlockErr)
	}
	return run()
}

// explain tells a missing repository from a damaged one, and from one that is too much.
func (c checkout) explain(ctx context.Context, err error) error {
	if err = starved(err); exitCode(err) < 0 || errors.Is(err, ErrLimit) {
		return err
	}
	if c.gone(ctx) {
		return fmt.Errorf("%w: %w", ErrNoCheckout, err)
	}
	return fmt.Errorf("%w: %w", ErrBadCheckout, err)
}

// gone reports whether the place of a repository in which git fails holds none: nothing, a folder of something else, a
// file. A HEAD may be a link to a branch that is not there.
func (c checkout) gone(ctx context.Context) bool {
	head := c.path("HEAD")
	test := c.agent.Command("test", "-e", head, "-o", "-L", head)
	test.Env = c.environment()
	return exitCode(test.Run(ctx)) == 1
}

// exitCode is that of a command that ran to an end of its own; -1 for other errors, 0 for none.
func exitCode(err error) int {
	var exit *agentproc.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	}
	return -1
}

func isDeadline(err error) bool { return errors.Is(err, context.DeadlineExceeded) }
