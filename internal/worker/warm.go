package worker

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
)

// warmAgent is the supervisor of the one job that a worker expects, started while it is idle: a start of this program and
// its sandbox take longer than everything else that comes before a job's first event. It also finds out whether the agent
// can work in WORKSPACE_DIR, which would otherwise be the first job's failure.
type warmAgent struct {
	cfg  config.Config
	opts Options
	log  zerolog.Logger

	policy  *sandbox.Policy // nil: no sandbox. It is set before start and take are called.
	started chan struct{}   // closed when start has done what it can

	mu     sync.Mutex
	agent  *agentproc.Agent
	closed bool
}

func newWarmAgent(cfg config.Config, opts Options) *warmAgent {
	return &warmAgent{cfg: cfg, opts: opts, log: opts.Log, started: make(chan struct{})}
}

// start starts the agent that take will hand out. What is wrong is logged; the job will fail by it. It is called once.
func (w *warmAgent) start(ctx context.Context) {
	defer close(w.started)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	agent, err := launch(ctx, w.cfg, w.opts.Path, w.policy)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Error().Err(err).Msg("the agent cannot be started: jobs will fail")
		}
		return
	}
	if os.Getuid() != 0 {
		w.log.Warn().Int("uid", agent.UID()).Msg("not root: the agent runs under the worker's own uid and can read what the worker can")
	}
	w.keep(agent)
}

// launch starts an agent that can work in WORKSPACE_DIR, in a sandbox if there is a policy.
func launch(ctx context.Context, cfg config.Config, path string, policy *sandbox.Policy) (*agentproc.Agent, error) {
	agent, err := agentproc.Start(ctx, agentproc.Config{UID: cfg.AgentUID, Path: path})
	if err != nil {
		return nil, err
	}
	err = agentproc.PrepareDir(ctx, agent, cfg.WorkspaceDir)
	if err != nil {
		err = fmt.Errorf("WORKSPACE_DIR: %w", err)
	} else if policy != nil {
		err = agent.Confine(ctx, *policy)
	}
	if err != nil {
		_ = agent.Close()
		return nil, err
	}
	return agent, nil
}

func (w *warmAgent) keep(agent *agentproc.Agent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		_ = agent.Close()
		return
	}
	w.agent = agent
}

// take hands the agent out, to the first who asks; others get one of their own. Who comes early waits for it.
func (w *warmAgent) take(ctx context.Context) (*agentproc.Agent, error) {
	select {
	case <-w.started:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	w.mu.Lock()
	agent := w.agent
	w.agent = nil
	w.mu.Unlock()
	if agent != nil {
		return agent, nil
	}
	return launch(ctx, w.cfg, w.opts.Path, w.policy)
}

// close ends an agent that nobody took.
func (w *warmAgent) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.agent != nil {
		_ = w.agent.Close()
		w.agent = nil
	}
}
