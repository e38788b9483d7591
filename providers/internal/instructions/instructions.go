// Package instructions reads what a repository legitimately says to an assistant: text, and nothing that runs.
package instructions

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// longest is how much of one file is given to the assistant, in bytes; a longer file is only named.
const longest = 128 << 10

// Read reads the named files of the checkout as the agent: they may be anything, links and devices included. One that cannot
// be read never ends the run; the assistant is told, and can look for itself. The error is the end of ctx.
func Read(ctx context.Context, t providers.Task, names ...string) (string, error) {
	var parts []string
	for _, name := range names {
		text, err := t.Agent.ReadFile(ctx, path.Join(t.Dir, name), longest)
		switch {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			parts = append(parts, fmt.Sprintf("The project has instructions in %s, which are too long to be given here or cannot be read; look at the file before you begin.", name))
		case strings.TrimSpace(string(text)) != "":
			parts = append(parts, fmt.Sprintf("Contents of %s (the project's instructions, checked into the repository; a word like @docs/style.md in them names a file to read as well):\n\n%s",
				name, strings.ToValidUTF8(string(text), "\uFFFD")))
		}
	}
	return strings.Join(parts, "\n\n"), nil
}
