package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

const attachHelp = `Show a session's latest job from its beginning, and go on live until its end.

Ctrl-C leaves; the job is not touched (aicw abort ends it). The exit status tells how the job ended, as that of aicw run.`

func (a *app) attachCommand() *cobra.Command {
	var from client.From
	cmd := &cobra.Command{
		Use: "attach SESSION", Short: "Show a session's latest job, live", Long: attachHelp, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSessions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.attach(cmd.Context(), args[0], from) },
	}
	cmd.Flags().BoolVar(&from.All, "all", false, "show every job of the session")
	cmd.Flags().StringVar(&from.After, "after", "", "show what comes after the event with this ID")
	return cmd
}

func (a *app) attach(ctx context.Context, id string, from client.From) error {
	if from.All && from.After != "" {
		return usageError{errors.New("either --all or --after")}
	}
	s := a.newScreen(a.hint("run --session"))
	c, err := a.client(client.Config{OnRetry: s.retry})
	if err != nil {
		return err
	}
	defer c.Close()
	follow := func(ctx context.Context) (client.Event, error) { return c.Attach(ctx, id, from, s.event) }
	return a.watch(ctx, s, follow, nil)
}
