package claudecode

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// maxInstructions is how much of one file is given to the assistant, in bytes; a longer file is only named.
const maxInstructions = 128 << 10

// instructionFiles are the project's own words to the assistant, in the order in which the CLI itself reads them.
var instructionFiles = []string{"CLAUDE.md", ".claude/CLAUDE.md"}

// readInstructions reads them as the agent: they may be anything, links and devices included. One that cannot be read
// never ends the run; the assistant is told, and can look for itself.
func readInstructions(ctx context.Context, t providers.Task) (string, error) {
	var parts []string
	for _, name := range instructionFiles {
		text, err := t.Agent.ReadFile(ctx, path.Join(t.Dir, name), maxInstructions)
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
