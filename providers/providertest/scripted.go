package providertest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// Scripted is a provider for the tests of others: it does what its fields say, in their order. Set them before the first
// run; it is then safe for concurrent use.
type Scripted struct {
	Name            string   // empty: "scripted"
	Aliases         []string // as in Info
	State           []string // as in Info
	NeedsCredential bool     // as in Info
	CheckErr        error    // what Check returns

	Messages []providers.Message
	Edit     func(ctx context.Context, t providers.Task) error // the work, through t.Agent; nil: none. See Shell.
	Block    <-chan struct{}                                   // after the work: wait until it is closed, or for the context's end
	Result   providers.Result
	Err      error // what Run returns in the end

	mu    sync.Mutex
	tasks []providers.Task
}

// Info implements providers.Provider.
func (s *Scripted) Info() providers.Info {
	name := s.Name
	if name == "" {
		name = "scripted"
	}
	return providers.Info{Name: name, Aliases: s.Aliases, State: s.State, NeedsCredential: s.NeedsCredential}
}

// Check implements providers.Provider.
func (s *Scripted) Check(providers.Task) error { return s.CheckErr }

// Run implements providers.Provider.
func (s *Scripted) Run(ctx context.Context, t providers.Task, emit func(providers.Message) error) (providers.Result, error) {
	s.mu.Lock()
	s.tasks = append(s.tasks, t)
	s.mu.Unlock()
	for _, m := range s.Messages {
		if ctx.Err() != nil {
			return s.Result, context.Cause(ctx)
		}
		if err := emit(m); err != nil {
			return s.Result, err
		}
	}
	if s.Edit != nil {
		if err := s.Edit(ctx, t); err != nil {
			return s.Result, err
		}
	}
	if s.Block != nil {
		select {
		case <-s.Block:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return s.Result, context.Cause(ctx)
	}
	return s.Result, s.Err
}

// Tasks returns the tasks of the runs so far.
func (s *Scripted) Tasks() []providers.Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tasks)
}

// Shell is an Edit that runs a shell script in the task's Dir, as the agent.
func Shell(script string) func(context.Context, providers.Task) error {
	return func(ctx context.Context, t providers.Task) error {
		cmd := t.Agent.Command("/bin/sh", "-ec", script)
		cmd.Dir = t.Dir
		cmd.Env = []string{"HOME=" + t.Home}
		if out, err := cmd.Output(ctx); err != nil {
			return fmt.Errorf("edit: %w (%s)", err, out)
		}
		return nil
	}
}
