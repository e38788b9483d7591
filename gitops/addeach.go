package gitops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// maxPaths is how many bytes of changed files' names are kept in memory.
const maxPaths = 64 << 20

// addEach stages changes among which one makes git give up, as a file that does not have the encoding which
// .gitattributes says, or a filter that fails. fatal is what git said of all of them.
func (c checkout) addEach(ctx context.Context, fatal error) (notes []string, err error) {
	list := &bounded{left: maxPaths}
	cmd := c.git("ls-files", "-z", "--modified", "--deleted", "--others", "--exclude-standard")
	cmd.Stdout = list
	if err := cmd.Run(ctx); err != nil {
		return nil, errors.Join(fatal, err)
	}
	if list.Len() == 0 {
		return nil, fatal
	}
	paths := strings.Split(strings.TrimRight(list.String(), "\x00"), "\x00")
	slices.Sort(paths)
	notes, err = c.addPaths(ctx, slices.Compact(paths))
	if len(notes) > maxNotes {
		notes = append(notes[:maxNotes], "and more")
	}
	return notes, err
}

// addPaths stages what can be staged of these, half by half where git gives up, and says what cannot. What git gives up
// without naming the file at which it does is no file's fault.
func (c checkout) addPaths(ctx context.Context, paths []string) (notes []string, err error) {
	cmd := c.git("--literal-pathspecs", "add", "-A", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul")
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00"))
	err = cmd.Run(ctx)
	var exit *agentproc.ExitError
	switch {
	case exitCode(err) != gitExitFatal || vault.RanOut(err) || !errors.As(err, &exit):
		return leftOut(err)
	case len(paths) > 1:
		half := len(paths) / 2
		first, err := c.addPaths(ctx, paths[:half])
		if err != nil {
			return nil, err
		}
		second, err := c.addPaths(ctx, paths[half:])
		return append(first, second...), err
	case !strings.Contains(exit.Stderr, strings.TrimRight(paths[0], "/")):
		return nil, err
	}
	return []string{fmt.Sprintf("not committed: %s: git says: %s", words(paths[0]), words(lastLine(exit.Stderr)))}, nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// bounded is a buffer that takes so many bytes and no more.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("%w: the names of what changed have more than %d MiB", ErrLimit, maxPaths>>20)
	}
	return b.Buffer.Write(p)
}

// ReadFrom hides the buffer's own, which knows no bound.
func (b *bounded) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{b}, r) }
