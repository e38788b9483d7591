package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ai-coding-worker/ai-coding-worker/cmd/aicw/internal/view"
	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

func (a *app) sessionsCommand() *cobra.Command {
	limit := 100
	cmd := &cobra.Command{
		Use: "sessions", Short: "List the sessions", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.sessions(cmd.Context(), limit) },
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "list so many at most; 0: all")
	return cmd
}

func (a *app) showCommand() *cobra.Command {
	files := false
	cmd := &cobra.Command{
		Use: "show SESSION", Short: "Show one session", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSessions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if files {
				return a.files(cmd.Context(), args[0])
			}
			return a.show(cmd.Context(), args[0])
		},
	}
	cmd.Flags().BoolVar(&files, "files", false, "list the files of its saved workspace")
	return cmd
}

func (a *app) abortCommand() *cobra.Command {
	return &cobra.Command{
		Use: "abort SESSION", Short: "End a session's job; its work is saved", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSessions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.abort(cmd.Context(), args[0]) },
	}
}

func (a *app) deleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete SESSION...", Short: "Remove sessions; their branches stay", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeSessions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.delete(cmd.Context(), args) },
	}
}

// delete removes each session that it can, and reports the first that it could not.
func (a *app) delete(ctx context.Context, ids []string) error {
	return a.ask(ctx, func(ctx context.Context, c *client.Client) error {
		var errs []error
		for _, id := range ids {
			if err := c.Delete(ctx, id); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", id, err))
				continue
			}
			if !a.json {
				fmt.Fprintln(a.stdout, "deleted", id)
			}
		}
		return errors.Join(errs...)
	})
}

// completionTimeout is how long a shell waits for the worker.
const completionTimeout = 2 * time.Second

// completeSessions offers the IDs of the worker's sessions to the shell; a worker that does not answer has none.
func (a *app) completeSessions(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	var found []string
	_ = a.ask(ctx, func(ctx context.Context, c *client.Client) error {
		page, _, err := c.Sessions(ctx, "", pageSize)
		for _, s := range page {
			if strings.HasPrefix(s.SessionID, begun) {
				found = append(found, s.SessionID+"\t"+view.CleanLine(s.SessionName))
			}
		}
		return err
	})
	return found, cobra.ShellCompDirectiveNoFileComp
}

// ask calls a worker that is there, or not at all: nobody wants to wait for a list.
func (a *app) ask(ctx context.Context, question func(context.Context, *client.Client) error) error {
	c, err := a.client(client.Config{BusyWait: -1})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sent, stop := a.signals()
	defer stop()
	answered := make(chan error, 1)
	go func() { answered <- question(ctx, c) }()
	select {
	case err := <-answered:
		return err
	case <-sent:
		cancel(errInterrupted)
		<-answered //nolint:errcheck // it is waited for, not asked: the interruption is what counts
		return errInterrupted
	}
}

// pageSize is the largest page that a worker gives.
const pageSize = 1000

func (a *app) sessions(ctx context.Context, limit int) error {
	return a.ask(ctx, func(ctx context.Context, c *client.Client) error {
		table := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		if !a.json {
			fmt.Fprintln(table, "SESSION\tSTATUS\tPROVIDER\tUPDATED\tBRANCH\tNAME")
		}
		cursor, left := "", limit
		for {
			page, next, err := c.Sessions(ctx, cursor, min(max(left, 0), pageSize))
			if err != nil {
				return err
			}
			if limit > 0 && len(page) >= left {
				page, next = page[:left], ""
			}
			a.list(table, page)
			if left -= len(page); next == "" || next == cursor {
				return table.Flush()
			}
			cursor = next
		}
	})
}

func (a *app) list(table *tabwriter.Writer, page []client.Session) {
	for _, s := range page {
		if a.json {
			fmt.Fprintln(a.stdout, oneLine(s.Raw))
			continue
		}
		branch := ""
		if s.GitHub != nil {
			branch = s.GitHub.Branch
		}
		cells := []string{s.SessionID, s.Status, s.Provider, when(s.UpdatedAt), branch, s.SessionName}
		for i, cell := range cells {
			cells[i] = view.CleanLine(cell)
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
}

func (a *app) show(ctx context.Context, id string) error {
	return a.ask(ctx, func(ctx context.Context, c *client.Client) error {
		s, err := c.Session(ctx, id)
		if err != nil {
			return err
		}
		if a.json {
			_, err = fmt.Fprintln(a.stdout, oneLine(s.Raw))
			return err
		}
		for _, f := range facts(s) {
			if value := view.CleanLine(f.value); value != "" {
				fmt.Fprintf(a.stdout, "%-10s %s\n", f.name, value)
			}
		}
		return nil
	})
}

type fact struct{ name, value string }

// facts are what people want to know of a session, in their order.
func facts(s client.Session) []fact {
	all := []fact{
		{"session", s.SessionID},
		{"name", s.SessionName},
		{"status", s.Status},
		{"provider", s.Provider},
		{"jobs", fmt.Sprint(s.Attempt)},
		{"events", fmt.Sprint(s.EventCount)},
		{"created", when(s.CreatedAt)},
		{"updated", when(s.UpdatedAt)},
	}
	if g := s.GitHub; g != nil {
		all = append(all, fact{"repository", g.RepoURL}, fact{"base", g.BaseBranch}, fact{"branch", g.Branch}, fact{"commit", head(*g)})
	}
	if s.Usage != nil && *s.Usage != (event.Usage{}) {
		all = append(all, fact{"cost", view.Cost(*s.Usage)})
	}
	return all
}

// head is the session's latest commit, and whether the remote has it.
func head(g client.SessionRepo) string {
	switch g.Head {
	case "":
		return ""
	case g.Pushed:
		return g.Head + ", pushed"
	default:
		return g.Head + ", not pushed"
	}
}

func (a *app) abort(ctx context.Context, id string) error {
	return a.ask(ctx, func(ctx context.Context, c *client.Client) error {
		outcome, err := c.Abort(ctx, id)
		if err != nil {
			return err
		}
		text := map[client.Outcome]string{
			client.Aborting:       "the job ends now; its work is saved",
			client.AbortRequested: "the job is on another worker, which ends it within seconds",
			client.NotRunning:     "the session has no running job",
		}[outcome]
		if text == "" {
			text = view.CleanLine(string(outcome))
		}
		_, err = fmt.Fprintln(a.stdout, text)
		return err
	})
}

// when is a time for people; the zero time is left out.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// oneLine is JSON without line breaks, safe for a terminal.
func oneLine(raw json.RawMessage) string {
	return escapeControls(strings.Join(strings.FieldsFunc(string(raw), func(r rune) bool { return r == '\n' || r == '\r' }), ""))
}
