package vault

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// command is one git of the worker's own, in the vault, where nobody else writes. It sees no credential, no network and
// no configuration but the vault's, and it dies when ctx or the worker ends.
type command struct {
	args   []string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer // gets a copy, for progress; nil: nobody
}

func (v *Vault) run(ctx context.Context, c command) error {
	return agentproc.Own{
		Path: v.git, Args: c.args, Dir: v.dir, Memory: v.memory, Stdin: c.stdin, Stdout: c.stdout, Stderr: c.stderr,
		Env: []string{
			"PATH=" + filepath.Dir(v.git) + ":/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C",
			"GIT_DIR=" + v.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=none",
		},
	}.Run(ctx)
}

// culprit is the line in which git names what it found wrong, for the error that says only that something was.
func culprit(stderr string) string {
	for line := range strings.FieldsFuncSeq(stderr, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if what, ok := strings.CutPrefix(line, "error: "); ok {
			return what + ": "
		}
	}
	return ""
}

// RanOut reports whether a git ended because it may not allocate more memory. Its words are the only sign of it.
func RanOut(err error) bool {
	var exit *agentproc.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	said := strings.ToLower(exit.Stderr)
	for _, sign := range []string{"out of memory", "cannot allocate memory", "unable to create thread"} {
		if strings.Contains(said, sign) {
			return true
		}
	}
	return false
}
