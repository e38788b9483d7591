package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// maxSecret bounds a file with a credential.
const maxSecret = 1 << 20

// readSecret reads a credential from a file, without the white space around it.
func readSecret(path string) (secret.String, error) {
	f, err := os.Open(path)
	if err != nil {
		return secret.String{}, usageError{err}
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return secret.String{}, usageError{err}
	}
	text := strings.TrimSpace(string(data))
	if text == "" || len(data) > maxSecret {
		return secret.String{}, usageError{fmt.Errorf("%s: no credential of a sensible size", path)}
	}
	return secret.New(text), nil
}

// usual are the variables in which people keep a provider's credential, the first that is set counts. A credential goes to its own
// provider only.
var usual = map[string][]string{
	"claude-code":    {"CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY"},
	"claude":         {"CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY"},
	"claudeagentsdk": {"CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY"},
	"codex":          {"CODEX_API_KEY", "OPENAI_API_KEY"},
	"codexsdk":       {"CODEX_API_KEY", "OPENAI_API_KEY"},
}

// credential finds the provider's credential: the file, AICW_AUTH, then the provider's usual variables. None is no error: the worker may
// have one.
func (a *app) credential(file, provider string) (secret.String, error) {
	if file != "" {
		return readSecret(file)
	}
	for _, name := range append([]string{"AICW_AUTH"}, usual[strings.ToLower(strings.TrimSpace(provider))]...) {
		if value := strings.TrimSpace(a.getenv(name)); value != "" {
			return secret.New(value), nil
		}
	}
	return secret.String{}, nil
}

// gitToken finds the token for a repository: the file and AICW_GIT_TOKEN are meant for whatever repository is named, GITHUB_TOKEN for
// github.com.
func (a *app) gitToken(file, repoURL string) (secret.String, error) {
	if file != "" {
		return readSecret(file)
	}
	names := []string{"AICW_GIT_TOKEN"}
	if u, err := url.Parse(repoURL); err == nil && u.Scheme == "https" && strings.EqualFold(u.Hostname(), "github.com") {
		names = append(names, "GITHUB_TOKEN", "GH_TOKEN")
	}
	for _, name := range names {
		if value := strings.TrimSpace(a.getenv(name)); value != "" {
			return secret.New(value), nil
		}
	}
	return secret.String{}, nil
}
