package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

const runHelp = `Give a job to a worker and show it until its end. The request is one argument; "-" reads it from standard input.

While all workers are busy the request waits. A stream that is cut is picked up again where it was.
The first Ctrl-C asks the worker to end the job, which saves the work done so far; a second one leaves at once, and a job that was not
ended by then goes on (aicw attach shows it).

Credentials come from files or from the environment (see aicw --help), never from an argument: other users see those.`

const runExample = `  aicw run --repo https://github.com/user/repo.git --provider claude-code "Add error handling to the API"
  aicw run --session 3f6c1e0a-7d57-4c7e-9d0b-2f0a6f3f9b11 "Now add tests for it"`

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	wait := 5 * time.Minute
	cmd := &cobra.Command{
		Use: `run [flags] "request"`, Short: "Run a job and show it live", Long: runHelp, Example: runExample, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runJob(cmd.Context(), f, wait, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.repo, "repo", "", "https URL of the repository; none: an empty folder")
	flags.StringVar(&f.branch, "branch", "", "branch to start from (the remote's default)")
	flags.StringVar(&f.directory, "directory", "", "name of the checkout's folder (the repository's name)")
	flags.StringVar(&f.session, "session", "", "session to go on with")
	flags.StringVar(&f.provider, "provider", "", "coding assistant, claude-code for one (the session's, or the worker's default)")
	flags.StringVar(&f.model, "model", "", "model (the provider's default)")
	flags.StringVar(&f.permissionMode, "permission-mode", "", "what the agent may do unasked (bypassPermissions)")
	flags.IntVar(&f.maxTurns, "max-turns", 0, "limit of the agent's turns (none)")
	flags.StringArrayVar(&f.images, "image", nil, "JPEG, PNG, GIF or WebP file to show to the agent; may be repeated")
	flags.BoolVar(&f.noCommit, "no-commit", false, "commit and push nothing")
	flags.StringVar(&f.authFile, "auth-file", "", "file with the provider's credential")
	flags.StringVar(&f.tokenFile, "token-file", "", "file with the token for the repository")
	flags.DurationVar(&wait, "wait", wait, "how long to wait for a free worker")
	_ = cmd.RegisterFlagCompletionFunc("session", a.completeSessions) // the flag is there
	return cmd
}

func (a *app) runJob(ctx context.Context, f runFlags, wait time.Duration, argument string) error {
	if f.maxTurns < 0 {
		return usageError{errors.New("--max-turns must not be negative")}
	}
	s := a.newScreen(a.hint("run --session"))
	c, err := a.client(client.Config{BusyWait: orNone(wait), OnRetry: s.retry})
	if err != nil {
		return err
	}
	defer c.Close()
	follow := func(ctx context.Context) (client.Event, error) {
		req, err := a.request(ctx, c, f, argument)
		if err != nil {
			return client.Event{}, err
		}
		return c.Execute(ctx, req, s.event)
	}
	return a.watch(ctx, s, follow, aborter(c, s))
}

// orNone makes a Config's "not at all" of a wait of nothing.
func orNone(wait time.Duration) time.Duration {
	if wait <= 0 {
		return -1
	}
	return wait
}
