package orchestrator

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// errDisk is in front of failures that are none of their own phase's.
var errDisk = errors.New("the disk of the workspaces is full (WORKSPACE_DIR)")

// full is how few free bytes a disk has on which nothing can be done any more.
const full = 64 << 10

// explain puts errDisk in front of a failure that says no cause of its own while the disk is full: what fails then, from
// the agent to git, fails in its own way, and none of them says so in a form to decide by.
func (r *run) explain(err error) error {
	switch CodeOf(err) {
	case event.ProviderError, event.SessionCorrupt, event.CloneFailed, event.InternalError:
	default:
		return err
	}
	var disk syscall.Statfs_t
	if syscall.Statfs(r.cfg.Workspaces, &disk) != nil || disk.Bavail*uint64(disk.Bsize) >= full {
		return err
	}
	return fmt.Errorf("%w: %w", errDisk, err)
}
