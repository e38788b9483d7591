package worker

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
)

// warmAgent is the supervisor of the one job that a worker expects, started while it is idle: a start of this program
// takes longer than everything else that comes before a job's first event. It also finds out whether the agent can work
// in WORKSPACE_DIR, which would otherwise be the first job's failure.
type warmAgent struct {
	cfg       agentproc.Config
	workspace string
	log       zerolog.Logger

	mu     sync.Mutex
	agent  *agentproc.Agent
	closed bool
}

func newWarmAgent(cfg config.Config, opts Options) *warmAgent {
	return &warmAgent{cfg: agentproc.Config{UID: cfg.AgentUID, Path: opts.Path}, workspace: cfg.WorkspaceDir, log: opts.Log}
}

// start starts the agent that take will hand out. What is wrong is logged; the job will fail by it.
func (w *warmAgent) start(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	agent, err := agentproc.Start(ctx, w.cfg)
	if err != nil {
		w.log.Error().Err(err).Msg("the agent's supervisor does not start: jobs will fail")
		return
	}
	if err := agentproc.PrepareDir(ctx, agent, w.workspace); err != nil && ctx.Err() == nil {
		w.log.Error().Err(err).Msg("WORKSPACE_DIR cannot be used: jobs will fail")
	}
	if os.Getuid() != 0 {
		w.log.Warn().Int("uid", agent.UID()).Msg("not root: the agent runs under the worker's own uid and can read what the worker can")
	}
	w.keep(agent)
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

// take hands the agent out, to the first who asks; others, and those who come too early, get one of their own.
func (w *warmAgent) take(ctx context.Context) (*agentproc.Agent, error) {
	w.mu.Lock()
	agent := w.agent
	w.agent = nil
	w.mu.Unlock()
	if agent != nil {
		return agent, nil
	}
	return agentproc.Start(ctx, w.cfg)
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
