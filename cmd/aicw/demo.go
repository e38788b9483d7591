package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/ai-coding-worker/ai-coding-worker/cmd/aicw/internal/view"
	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/internal/worker"
)

const demoHelp = `Start a git host and a worker on this machine, run a job through them, show what was pushed, and resume the session in a second
worker. Go and git are all it needs: the job is a shell script, run by the provider script.

With CODING_ASSISTANT_AUTHENTICATION (or CLAUDE_CODE_OAUTH_TOKEN, or ANTHROPIC_API_KEY) in the environment, and claude on the PATH, the
job is done by Claude Code, which costs a few cents.`

func (a *app) demoCommand() *cobra.Command {
	provider := ""
	cmd := &cobra.Command{
		Use: "demo", Short: "Run a real job with a git host and workers of its own", Long: demoHelp, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), provider) },
	}
	cmd.Flags().StringVar(&provider, "provider", "", "script or claude-code (by what the environment has)")
	return cmd
}

// demo is one demonstration: a folder, a git host in it, and one worker after the other.
type demo struct {
	*app
	dir   string
	host  *githost.Host
	token secret.String // what the git host asks for
	cast  cast
}

func (a *app) demo(ctx context.Context, provider string) error {
	chosen, err := a.chooseCast(provider)
	if err != nil {
		return err
	}
	d := &demo{app: a, token: secret.New(uuid.NewString()), cast: chosen}
	if err := d.prepare(); err != nil {
		return fmt.Errorf("prepare the demo: %w", err)
	}
	defer d.close()
	return d.play(ctx)
}

func (d *demo) prepare() (err error) {
	if d.dir, err = os.MkdirTemp("", "aicw-demo-"); err != nil {
		return err
	}
	// The agent, another user if this is root, must be able to come through to its workspace.
	if err := os.Chmod(d.dir, 0o711); err != nil {
		return err
	}
	d.host, err = githost.Start(githost.Config{Token: d.token.Reveal()})
	return err
}

func (d *demo) close() {
	if d.host != nil {
		_ = d.host.Close()
	}
	_ = os.RemoveAll(d.dir)
}

const demoRepo = "demo/website"

// play is the demonstration itself.
func (d *demo) play(ctx context.Context) error {
	repo, err := d.host.Create(demoRepo, website)
	if err != nil {
		return err
	}
	d.say("A git host with the repository %s, and a worker that stores sessions in a directory. %s", repo, d.cast.intro)
	d.say("1. A job: %s", d.cast.first.title)
	end, err := d.job(ctx, client.Request{Text: d.cast.first.text, Repo: &client.Repo{URL: repo, Token: d.token}})
	if err != nil {
		return err
	}
	if err := d.showPushed(end.Branch, "main"); err != nil {
		return err
	}
	d.say("2. The session again, in a new worker with an empty workspace: %s", d.cast.second.title)
	again, err := d.job(ctx, client.Request{Text: d.cast.second.text, SessionID: end.SessionID, MustExist: true, Repo: &client.Repo{URL: repo, Token: d.token}})
	if err != nil {
		return err
	}
	if err := d.showPushed(again.Branch, end.CommitHash); err != nil {
		return err
	}
	d.say("That was all. The files of the demo are removed now; README.md says how to run a worker of your own.")
	return nil
}

// job starts a worker, runs one job through it, and waits until the worker has ended by itself.
func (d *demo) job(ctx context.Context, req client.Request) (event.Completed, error) {
	url, exited, stop, err := d.startWorker(ctx)
	if err != nil {
		return event.Completed{}, err
	}
	defer stop()
	s := d.newScreen("")
	c, err := client.New(client.Config{BaseURL: url, OnRetry: s.retry})
	if err != nil {
		return event.Completed{}, err
	}
	defer c.Close()
	req.Provider, req.Credential = d.cast.provider, d.cast.credential
	var end client.Event
	follow := func(ctx context.Context) (_ client.Event, err error) {
		end, err = c.Execute(ctx, req, s.event)
		return end, err
	}
	if err := d.watch(ctx, s, follow, aborter(c, s)); err != nil {
		return event.Completed{}, err
	}
	completed, _ := end.Body().(event.Completed)
	return completed, <-exited
}

// startWorker runs a worker in this process. It ends after its job, or when stop is called; exited tells its own failure.
func (d *demo) startWorker(ctx context.Context) (url string, exited <-chan error, stop func(), err error) {
	cfg, err := config.Load(d.variable)
	if err != nil {
		return "", nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	listening, ended, gone := make(chan net.Addr, 1), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		ended <- worker.Run(ctx, cfg, worker.Options{
			Path: d.getenv("PATH"), Version: "demo", Log: zerolog.New(d.stderr).Level(zerolog.ErrorLevel),
			Listening: func(addr net.Addr) { listening <- addr },
		})
	}()
	stop = func() { cancel(); <-gone }
	select {
	case addr := <-listening:
		return "http://" + addr.String(), ended, stop, nil
	case err := <-ended:
		cancel()
		return "", nil, nil, fmt.Errorf("start a worker: %w", err)
	}
}

// variable is the environment of the demo's workers.
func (d *demo) variable(name string) string {
	switch name {
	case "HOST":
		return "127.0.0.1"
	case "PORT":
		return "0"
	case "WORKSPACE_DIR":
		return filepath.Join(d.dir, "workspace")
	case "STORAGE_DIR":
		return filepath.Join(d.dir, "storage")
	case "GIT_ALLOW_HTTP", "SCRIPT_PROVIDER":
		return "true"
	case "GIT_ALLOWED_HOSTS":
		return "127.0.0.1"
	case "STOP_GRACE":
		return "5s"
	case "ANTHROPIC_BASE_URL":
		return d.getenv(name)
	}
	return ""
}

// showPushed shows what the git host has.
func (d *demo) showPushed(branch, base string) error {
	d.say("On the git host the branch %s is now:", branch)
	for _, args := range [][]string{
		{"log", "--oneline", "--graph", branch, "--"},
		{"diff", base, branch, "--"},
	} {
		text, err := d.host.Git(demoRepo, args...)
		if err != nil {
			return fmt.Errorf("look at what was pushed: %w", err)
		}
		for l := range strings.Lines(view.Clean(text)) {
			fmt.Fprint(d.stdout, "    ", l)
		}
		fmt.Fprintln(d.stdout)
	}
	return nil
}

// say prints a paragraph of the demo's own.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.stdout, "\n"+format+"\n\n", args...) }
