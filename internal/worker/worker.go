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

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// Helpers are the functions that a worker runs in children of its own binary: hand them to agentproc.Dispatch, in the
// first line of main.
func Helpers() []agentproc.Helper { return append(snapshot.Helpers(), gitops.Helpers()...) }

// Options are what a worker takes from its process and not from its configuration.
type Options struct {
	Path    string // the PATH on which assistants and git are found
	Version string
	// Certificates are the settings of the environment, "NAME=value", that say which certificates are trusted: the processes
	// that fetch from git hosts do not inherit the environment.
	Certificates []string
	Listening    func(net.Addr)  // called once requests are accepted; nil: nobody asks
	Hurry        <-chan struct{} // closed: a job that goes on after the end of Run's context is stopped now; nil: never
	// Stuck is called when an idle worker does not answer any more: Run cannot be relied on to return. nil: nobody watches.
	Stuck func(error)
	Log   zerolog.Logger
}

// Run serves until the worker's one job is over and its readers have seen the end, or until ctx is cancelled: an idle
// worker then returns at once, a busy one finishes its job if the grace allows. An error is the worker's own fault; a
// job that failed is not one.
func Run(ctx context.Context, cfg config.Config, opts Options) error {
	if err := checkSandbox(cfg.Sandbox, opts.Log); err != nil {
		return err
	}
	state, removeState, err := stateDir(cfg.StateDir)
	if err != nil {
		return err
	}
	defer removeState()
	warm := newWarmAgent(cfg, opts)
	defer warm.close()
	parts, err := build(ctx, cfg, opts, state, warm.take)
	if err != nil {
		return err
	}
	metricsAddr, stopMetrics, err := parts.serveMetrics(ctx, cfg.MetricsAddr, opts.Log)
	if err != nil {
		return err
	}
	defer stopMetrics()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	opts.Log.Info().Str("addr", ln.Addr().String()).Str("version", opts.Version).Msg("listening")
	if opts.Listening != nil {
		opts.Listening(ln.Addr())
	}
	warm.policy = policy(cfg, opts.Path, ln.Addr(), metricsAddr)
	go warm.start(ctx)
	idling, stopIdling := context.WithCancel(ctx)
	defer stopIdling()
	go parts.sweeper.run(idling)
	go bark(idling, newWatchdog(ln.Addr().String(), parts.server.Idle), opts.Stuck)
	begun := time.Now()
	grace, cancel := outliving(ctx, cfg.StopGrace)
	defer cancel()
	err = ownFault(parts.server.Serve(ctx, ln))
	parts.flush(grace)
	parts.linger(ctx, cfg.MetricsLinger)
	if err != nil {
		return err
	}
	live(ctx, cfg.MinUptime-time.Since(begun))
	return nil
}

// bark runs a watchdog for whoever wants to know.
func bark(ctx context.Context, w watchdog, stuck func(error)) {
	if stuck == nil {
		return
	}
	if err := w.run(ctx); err != nil {
		stuck(err)
	}
}

// outliving makes a context that ends a while after ctx does.
func outliving(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return longer, func() { stop(); cancel() }
}

// live waits, unless ctx ends. To Swarm the end of a task soon after its start is a failed update, whatever its status.
func live(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// ownFault leaves out what ended a job without being this worker's fault; a non-zero exit would count against an update
// of the whole fleet. The job's client, or the next worker's, has been told, and the job's log.
func ownFault(err error) error {
	if errors.Is(err, storage.ErrReplaced) || errors.Is(err, storage.ErrUnavailable) {
		return nil
	}
	return err
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
