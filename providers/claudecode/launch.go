package claudecode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// Where the CLI keeps what it knows, below Task.Home, and the part of that which a resume needs.
const (
	configFolder        = ".claude"
	conversationsFolder = "projects"
	scratchFolder       = "tmp"
)

// start starts the CLI in the checkout, with its credential in a pipe.
func (p *Provider) start(ctx context.Context, t providers.Task, credential Credential) (*agentproc.Process, error) {
	if err := t.Agent.MkdirAll(ctx, path.Join(t.Home, scratchFolder)); err != nil {
		return nil, fmt.Errorf("make the assistant's home: %w", err)
	}
	session, err := p.session(ctx, t)
	if err != nil {
		return nil, err
	}
	cmd := t.Agent.Command(p.cfg.Path, arguments(t.Options, session)...)
	cmd.Dir = t.Dir
	cmd.Env = environment(t, credential)
	cmd.Secrets = []secret.String{credential.Token}
	child, err := cmd.Start(ctx)
	if err != nil {
		return nil, p.startError(err)
	}
	return child, nil
}

// startError tells a missing CLI from a missing checkout, which give the same error number.
func (p *Provider) startError(err error) error {
	if _, statErr := os.Stat(p.cfg.Path); errors.Is(statErr, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", providers.ErrNotInstalled, err)
	}
	return err
}

// session is the arguments that name the conversation. An earlier one is named by the path of its file, which does not depend
// on the checkout's place: another machine's is another one.
func (p *Provider) session(ctx context.Context, t providers.Task) ([]string, error) {
	if t.ResumeID == "" {
		return []string{"--session-id", p.cfg.NewID()}, nil
	}
	file, err := findConversation(ctx, t)
	if err != nil {
		return nil, err
	}
	return []string{"--resume", file}, nil
}

// findFile prints the path of the first regular file of that name in any folder of a folder.
const findFile = `for file in "$1"/*/"$2"; do if [ -f "$file" ]; then printf %s "$file"; exit; fi; done`

// findConversation looks for the conversation's file as the agent. The folder it is in is named after the checkout's path
// when the conversation began.
func findConversation(ctx context.Context, t providers.Task) (string, error) {
	folder := path.Join(t.Home, configFolder, conversationsFolder)
	file, err := t.Agent.Command("/bin/sh", "-c", findFile, "sh", folder, t.ResumeID+".jsonl").Output(ctx)
	if err != nil {
		return "", fmt.Errorf("look for the conversation: %w", err)
	}
	if len(file) == 0 {
		return "", fmt.Errorf("%w: %s has no conversation %s", providers.ErrSessionNotFound, folder, t.ResumeID)
	}
	return string(file), nil
}

// environment is the CLI's whole environment but PATH. The credential is not in it: its variable only says which descriptor
// to read.
func environment(t providers.Task, credential Credential) []string {
	scratch := path.Join(t.Home, scratchFolder)
	env := []string{
		"HOME=" + t.Home,
		"TMPDIR=" + scratch,
		"CLAUDE_CODE_TMPDIR=" + scratch,
		"CLAUDE_CONFIG_DIR=" + path.Join(t.Home, configFolder),
		"LANG=C.UTF-8",
		"GIT_TERMINAL_PROMPT=0",
		// The CLI looks at the checkout with git; a program that an earlier run has named there is not for that.
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.fsmonitor", "GIT_CONFIG_VALUE_0=false",
		"ANTHROPIC_BASE_URL=" + cmp.Or(t.BaseURL, DefaultBaseURL),
		"CLAUDE_CODE_MAX_RETRIES=3",
		"API_TIMEOUT_MS=300000",
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
		"DISABLE_TELEMETRY=1",
		"DISABLE_ERROR_REPORTING=1",
		"DISABLE_AUTOUPDATER=1",
	}
	if credential.OAuth {
		env = append(env, "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR=3")
	} else {
		env = append(env, "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR=3")
	}
	if t.Agent.UID() == 0 {
		env = append(env, "IS_SANDBOX=1") // else the CLI refuses to work unasked as root
	}
	return env
}
