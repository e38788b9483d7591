package agentproc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// PrepareDir sees to it that a directory exists in which the agent can make its own. It is made as the agent if that
// is possible, else by this process, which then lets everybody write into it as into /tmp, as a root without CHOWN
// cannot give it away. An empty directory of this process's user is opened in the same way; another one that the
// agent cannot write to is left alone, and the error says what to do.
func PrepareDir(ctx context.Context, agent *Agent, path string) error {
	err := agent.probe(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		if agent.MkdirAll(ctx, path) != nil {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return fmt.Errorf("prepare the directory %s: %w", path, err)
			}
		}
		err = agent.probe(ctx, path) // another preparation may have made it a moment ago, and not opened it yet
	}
	if err == nil {
		return nil
	}
	openEmpty(path)
	if err := agent.probe(ctx, path); err != nil {
		return fmt.Errorf("prepare the directory %s: the agent cannot write to it (give it to uid %d, and let that uid enter its parents): %w",
			path, agent.UID(), err)
	}
	return nil
}

func (a *Agent) probe(ctx context.Context, path string) error {
	return a.file(ctx, "probe", path, a.Helper(probeHelper, path))
}

// openEmpty lets everybody write into a directory that is empty and this process's user's; whether that was so, and
// helped, the agent will see.
func openEmpty(path string) {
	if entries, err := os.ReadDir(path); err == nil && len(entries) == 0 {
		_ = os.Chmod(path, fs.ModeSticky|0o777)
	}
}
