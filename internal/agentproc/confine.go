package agentproc

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/fsuid"
	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
)

// Confine puts every command that is started from now on into a sandbox, helpers too; it cannot be undone. What the kernel
// lacks of it is left out (see [sandbox.Missing]). The paths of the policy are what they lead to at the time of the call, for
// the agent's uid. After an error nothing must be started: Close the agent. ctx bounds the waiting.
func (a *Agent) Confine(ctx context.Context, policy sandbox.Policy) error {
	id := a.calls.newID()
	confined := a.calls.add(id)
	if err := a.send(frame{Op: opConfine, ID: id, Sandbox: &policy}); err != nil {
		return fmt.Errorf("confine the agent: %w", err)
	}
	f, err := confined.wait(ctx)
	if err == nil && f.Error != "" {
		err = errors.New(f.Error)
	}
	if err != nil {
		return fmt.Errorf("confine the agent: %w", err)
	}
	return nil
}

// confine puts this thread into a sandbox, from which all commands come.
func (s *supervisor) confine(f frame) {
	confined := frame{Op: opConfined, ID: f.ID}
	if err := s.enter(f.Sandbox); err != nil {
		confined.Error = err.Error()
	}
	s.tell(confined)
}

func (s *supervisor) enter(policy *sandbox.Policy) error {
	if policy == nil {
		return unix.EINVAL
	}
	uid := s.uid
	if uid == noUID {
		uid = os.Geteuid()
	}
	var box *sandbox.Box
	if err := fsuid.Do(uid, func() (err error) { box, err = policy.Prepare(); return err }); err != nil {
		return err
	}
	return box.Enter()
}
