package codex

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// Where the CLI keeps what it knows, below Task.Home, and the part of that which a resume needs.
const (
	configFolder        = ".codex"
	conversationsFolder = "sessions"
	scratchFolder       = "tmp"
)

// start starts the CLI in the checkout. Its credential comes later, over its standard input.
func (p *Provider) start(ctx context.Context, t providers.Task) (*agentproc.Process, error) {
	for _, folder := range []string{configFolder, scratchFolder} {
		if err := t.Agent.MkdirAll(ctx, path.Join(t.Home, folder)); err != nil {
			return nil, fmt.Errorf("make the assistant's home: %w", err)
		}
	}
	cmd := t.Agent.Command(p.cfg.Path, arguments(t)...)
	cmd.Dir = t.Dir
	cmd.Env = environment(t)
	child, err := cmd.Start(ctx)
	if err != nil {
		if _, statErr := os.Stat(p.cfg.Path); errors.Is(statErr, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", providers.ErrNotInstalled, err)
		}
		return nil, err
	}
	return child, nil
}

// settings are given as arguments, which no file of the repository or of an earlier run can overrule.
var settings = []string{
	`cli_auth_credentials_store="ephemeral"`, // the credential is in no file
	`check_for_update_on_startup=false`,
	`analytics.enabled=false`,
	`otel.metrics_exporter="none"`,
	`history.persistence="none"`,
	`features.plugins=false`, // else it asks other hosts at each start
	`features.apps=false`,
	`features.skill_mcp_dependency_install=false`, // a skill of the repository could name a server to run
	`skills.include_instructions=false`,           // nor does the repository have others than AGENTS.md
	`project_doc_max_bytes=0`,                     // the instructions are given
	`shell_environment_policy.ignore_default_excludes=false`,
}

func arguments(t providers.Task) []string {
	args := []string{"app-server"}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	// Not to be trusted has to be said: a thread without a sandbox makes its folder a trusted one, whose configuration runs.
	args = append(args, "-c", fmt.Sprintf(`projects={%s={trust_level="untrusted"}}`, quoted(t.Dir)))
	if t.BaseURL == "" {
		return args
	}
	// A provider of our own: the built-in one tries a WebSocket first, several times, whatever the URL is.
	return append(args, "-c", `model_provider="worker"`, "-c", fmt.Sprintf(
		`model_providers.worker={name="worker",base_url=%s,wire_api="responses",requires_openai_auth=true,supports_websockets=false,`+
			`request_max_retries=3,stream_max_retries=3,stream_idle_timeout_ms=300000}`, quoted(t.BaseURL)))
}

// quoted is a string in TOML, of which JSON's are a part.
func quoted(s string) string {
	q, err := json.Marshal(s)
	if err != nil {
		return `""` // a string can be marshalled
	}
	return string(q)
}

// environment is the CLI's whole environment but PATH, and its tools'. The credential is not in it.
func environment(t providers.Task) []string {
	return []string{
		"HOME=" + t.Home,
		"CODEX_HOME=" + path.Join(t.Home, configFolder),
		"TMPDIR=" + path.Join(t.Home, scratchFolder),
		"LANG=C.UTF-8",
		"GIT_TERMINAL_PROMPT=0",
		// The CLI looks at the checkout with git; a program that an earlier run has named there is not for that.
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.fsmonitor", "GIT_CONFIG_VALUE_0=false",
	}
}

// hasFile tells by its status whether a folder, three levels down by date, has a conversation.
const hasFile = `for file in "$1"/*/*/*/rollout-*-"$2".jsonl; do [ -f "$file" ] && echo found && exit; done; true`

// findConversation makes sure of an earlier conversation, as the agent: the CLI's own error for a missing one is only words.
func findConversation(ctx context.Context, t providers.Task) error {
	if t.ResumeID == "" {
		return nil
	}
	folder := path.Join(t.Home, configFolder, conversationsFolder)
	found, err := t.Agent.Command("/bin/sh", "-c", hasFile, "sh", folder, t.ResumeID).Output(ctx)
	if err != nil {
		return fmt.Errorf("look for the conversation: %w", err)
	}
	if len(found) == 0 {
		return fmt.Errorf("%w: %s has no conversation %s", providers.ErrSessionNotFound, folder, t.ResumeID)
	}
	return nil
}
