package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ai-coding-worker/ai-coding-worker/cmd/aicw/internal/view"
	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const help = `aicw gives jobs to AI coding workers and shows them as they run.

Exit status:
  0    the job completed
  1    the job failed, or something else did
  2    the command line or the request is wrong
  3    no worker was free, none could be reached, or another job holds the session
  4    the job's stream was lost; the job may be running still (aicw attach)
  130  interrupted

Environment:
  AICW_SERVER          the worker, or the proxy before the workers (default http://localhost:5000)
  AICW_API_KEY         the key that the worker asks for, one of its API_KEYS
  AICW_AUTH            the provider's credential, a key or JSON; without it the usual variable of the provider is taken
                       (CLAUDE_CODE_OAUTH_TOKEN or ANTHROPIC_API_KEY; CODEX_API_KEY or OPENAI_API_KEY)
  AICW_GIT_TOKEN       the token for the repository, whatever its host
  GITHUB_TOKEN         the token for repositories on github.com, and for no other (GH_TOKEN too)
  NO_COLOR             no colours`

const defaultServer = "http://localhost:5000"

// app is one run of the program.
type app struct {
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	signals        func() (sent <-chan os.Signal, stop func())
	tune           func(*client.Config) // tests make the client impatient; nil: as it is

	server string
	json   bool
	parsed bool // the command line was right: what goes wrong from here on is not the usage
}

// run executes the command line and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.command()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.parsed {
		err = fmt.Errorf("%w (see aicw --help)", usageError{err})
	}
	if !silent(err) {
		fmt.Fprintln(a.stderr, "aicw:", view.CleanLine(err.Error())+advice(err))
	}
	return status(err)
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use: "aicw", Short: "Give jobs to AI coding workers", Long: help, SilenceUsage: true, SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) { a.parsed = true },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.server, "server", "", "the worker's address (AICW_SERVER, default "+defaultServer+")")
	flags.BoolVar(&a.json, "json", false, "print JSON, one object on each line, as the worker sent it")
	root.AddCommand(a.runCommand(), a.attachCommand(), a.sessionsCommand(), a.showCommand(), a.abortCommand(), a.deleteCommand(), a.demoCommand())
	return root
}

// serverURL is what the user named, or the default.
func (a *app) serverURL() string {
	for _, s := range []string{a.server, a.getenv("AICW_SERVER")} {
		if s != "" {
			return s
		}
	}
	return defaultServer
}

// client makes the client of one command. Its owner closes it.
func (a *app) client(cfg client.Config) (*client.Client, error) {
	cfg.BaseURL = a.serverURL()
	cfg.APIKey = secret.New(a.getenv("AICW_API_KEY"))
	if a.tune != nil {
		a.tune(&cfg)
	}
	return client.New(cfg)
}
