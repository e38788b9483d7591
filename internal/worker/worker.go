// Package worker wires one worker together: from its configuration to a process that serves HTTP, runs one job and is done.
package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// Helpers are the functions that a worker runs in children of its own binary: hand them to agentproc.Dispatch, in the
// first line of main.
func Helpers() []agentproc.Helper { return snapshot.Helpers() }

// Options are what a worker takes from its process and not from its configuration.
type Options struct {
	Path      string // the PATH on which assistants and git are found
	Version   string
	Listening func(net.Addr) // called once requests are accepted; nil: nobody asks
	Log       zerolog.Logger
}

// Run serves until the worker's one job is over and its readers have seen the end, or until ctx is cancelled: an idle
// worker then returns at once, a busy one finishes its job if the grace allows. An error is the worker's own fault; a
// job that failed is not one.
func Run(ctx context.Context, cfg config.Config, opts Options) error {
	state, removeState, err := stateDir(cfg.StateDir)
	if err != nil {
		return err
	}
	defer removeState()
	server, err := build(cfg, opts, state)
	if err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	opts.Log.Info().Str("addr", ln.Addr().String()).Str("version", opts.Version).Msg("listening")
	if opts.Listening != nil {
		opts.Listening(ln.Addr())
	}
	go checkWorkspace(ctx, cfg, opts)
	return server.Serve(ctx, ln)
}

// checkWorkspace says at start what would otherwise be the first job's failure. It does not hold up the start: a child
// of the agent's uid has to look.
func checkWorkspace(ctx context.Context, cfg config.Config, opts Options) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	agent, err := agentproc.Start(ctx, agentproc.Config{UID: cfg.AgentUID, Path: opts.Path})
	if err != nil {
		opts.Log.Error().Err(err).Msg("the agent's supervisor does not start: jobs will fail")
		return
	}
	defer func() { _ = agent.Close() }()
	if err := agentproc.PrepareDir(ctx, agent, cfg.WorkspaceDir); err != nil && ctx.Err() == nil {
		opts.Log.Error().Err(err).Msg("WORKSPACE_DIR cannot be used: jobs will fail")
	}
	if os.Getuid() != 0 {
		opts.Log.Warn().Int("uid", agent.UID()).Msg("not root: the agent runs under the worker's own uid and can read what the worker can")
	}
}

// stateDir makes sure of the folder for the worker's own files, closed to everybody else.
func stateDir(configured string) (dir string, remove func(), err error) {
	if configured == "" {
		dir, err := os.MkdirTemp("", "aicw-state-")
		if err != nil {
			return "", nil, fmt.Errorf("make a STATE_DIR: %w", err)
		}
		return dir, func() { _ = os.RemoveAll(dir) }, nil
	}
	if err := os.MkdirAll(configured, 0o700); err != nil {
		return "", nil, fmt.Errorf("make STATE_DIR: %w", err)
	}
	if err := os.Chmod(configured, 0o700); err != nil && !errors.Is(err, os.ErrPermission) {
		return "", nil, fmt.Errorf("close STATE_DIR: %w", err)
	}
	return configured, func() {}, nil
}
