package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
)

// selfTestTimeout bounds each program's start, on a machine that is busy with other workers' starts.
const selfTestTimeout = 30 * time.Second

// programs are what a job may need of the image; git always, the others where they are installed.
var programs = []string{"git", "claude", "codex"}

// SelfTest tries what every job needs and nobody else can be blamed for: that the worker can write to its STATE_DIR and the
// agent to WORKSPACE_DIR, and that git and each installed assistant start under the agent's uid. It asks nothing of the
// network, and its agent is in the sandbox of a job's. The error names everything that is wrong.
func SelfTest(ctx context.Context, cfg config.Config, opts Options) error {
	state, removeState, err := stateDir(cfg.StateDir)
	if err != nil {
		return err
	}
	defer removeState()
	if err := probeState(state); err != nil {
		return err
	}
	if err := checkSandbox(cfg.Sandbox, opts.Log); err != nil {
		return err
	}
	agent, err := launch(ctx, cfg, opts.Path, policy(cfg, opts.Path))
	if err != nil {
		return err
	}
	defer func() { _ = agent.Close() }() // what it says of left processes concerns nobody yet
	return tryPrograms(ctx, agent, cfg.WorkspaceDir, opts)
}

func probeState(dir string) error {
	f, err := os.CreateTemp(dir, "selftest-*")
	if err != nil {
		return fmt.Errorf("write to STATE_DIR: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// tryPrograms starts all of them at once: this comes before each job of a fleet.
func tryPrograms(ctx context.Context, agent *agentproc.Agent, home string, opts Options) error {
	ctx, cancel := context.WithTimeout(ctx, selfTestTimeout)
	defer cancel()
	failures := make([]error, len(programs))
	var tries sync.WaitGroup
	for i, name := range programs {
		path := agentproc.LookPath(name, opts.Path)
		if path == "" && name != "git" {
			continue
		}
		tries.Go(func() { failures[i] = tryProgram(ctx, agent, name, home, opts.Log) })
	}
	tries.Wait()
	return errors.Join(failures...)
}

func tryProgram(ctx context.Context, agent *agentproc.Agent, name, home string, log zerolog.Logger) error {
	cmd := agent.Command(name, "--version")
	cmd.Dir, cmd.Env = home, []string{"HOME=" + home}
	out, err := cmd.Output(ctx)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	log.Info().Str("program", name).Str("says", version).Msg("self-test")
	return nil
}
