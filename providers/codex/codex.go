// Package codex runs OpenAI's Codex: its command line interface as an "app-server", one long-lived child that speaks
// JSON-RPC in lines.
//
// The repository that the assistant works on is somebody else's: it is not trusted, so Codex does not load its .codex folder
// (configuration, hooks, MCP servers), nor its AGENTS.md; that is read as the agent and given to the assistant as instructions.
package codex

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/internal/credential"
	"github.com/ai-coding-worker/ai-coding-worker/providers/internal/instructions"
	"github.com/ai-coding-worker/ai-coding-worker/providers/internal/lines"
)

// Config is what a Provider needs; the zero value of each field but Path is a default.
type Config struct {
	Path           string        // of the CLI, absolute
	InterruptGrace time.Duration // how long a cancelled run may take to end its turn, before it is killed; 5 s
	ExitGrace      time.Duration // how long the CLI may take to exit after its turn; 10 s
	RetryLimit     time.Duration // how long the CLI may try to reach the model again without getting anywhere; 2 min
	Now            func() time.Time
}

// Provider runs Codex. It is stateless and safe for concurrent use.
type Provider struct {
	cfg Config
}

// New makes a Provider.
func New(cfg Config) *Provider {
	for _, d := range []struct {
		field    *time.Duration
		fallback time.Duration
	}{
		{&cfg.InterruptGrace, 5 * time.Second},
		{&cfg.ExitGrace, 10 * time.Second},
		{&cfg.RetryLimit, 2 * time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.fallback
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Provider{cfg: cfg}
}

// Info implements providers.Provider. The state is the conversations alone: not the folder's settings, and no credential,
// which is never written.
func (*Provider) Info() providers.Info {
	return providers.Info{
		Name:            "codex",
		Aliases:         []string{"CodexSDK"},
		State:           []string{configFolder + "/" + conversationsFolder},
		NeedsCredential: true,
	}
}

// Check implements providers.Provider. A token that has expired is no malformed request: Run says it, as ErrAuth.
func (*Provider) Check(t providers.Task) error {
	if strings.TrimSpace(t.Prompt.Text()) == "" {
		return &providers.FieldError{Field: "userRequest", Reason: "it has no words"}
	}
	if _, err := ParseCredential(t.Credential); err != nil {
		return &providers.FieldError{Field: "codingAssistantAuthentication", Reason: err.Error() + "; " + credentialForms}
	}
	if t.ResumeID != "" && uuid.Validate(t.ResumeID) != nil {
		return fmt.Errorf("%w: %q is no session ID of Codex", providers.ErrSessionNotFound, t.ResumeID)
	}
	return checkOptions(t.Options)
}

const credentialForms = `want an API key, {"apiKey":…}, or the content of Codex's auth.json`

// modelName is what the CLI is given as a model.
var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)

// The permission modes, by the names that all providers share, and Codex's sandboxes for them.
const (
	modeBypass      = "bypassPermissions"
	modeAcceptEdits = "acceptEdits"
	modePlan        = "plan"
)

var sandboxes = map[string]string{modeBypass: "danger-full-access", modeAcceptEdits: "workspace-write", modePlan: "read-only"}

func checkOptions(o providers.Options) error {
	switch {
	case o.Model != "" && !modelName.MatchString(o.Model):
		return &providers.FieldError{Field: "providerOptions.model", Reason: "it is no name of a model, such as gpt-5.5"}
	case o.PermissionMode != "" && sandboxes[o.PermissionMode] == "":
		modes := slices.Sorted(maps.Keys(sandboxes))
		return &providers.FieldError{
			Field:  "providerOptions.permissionMode",
			Reason: fmt.Sprintf("%q is none of %s", o.PermissionMode, strings.Join(modes, ", ")),
		}
	case o.MaxTurns != 0:
		return &providers.FieldError{Field: "providerOptions.maxTurns", Reason: "Codex has no such limit: leave it out"}
	}
	return nil
}

// sandbox is Codex's own around its tools. By default there is none: the agent is confined by the worker.
func sandbox(o providers.Options) string {
	switch {
	case o.PermissionMode != "":
		return sandboxes[o.PermissionMode]
	case o.SkipPermissions != nil && !*o.SkipPermissions:
		return sandboxes[modeAcceptEdits]
	default:
		return sandboxes[modeBypass]
	}
}

// Secrets implements providers.SecretLister.
func (*Provider) Secrets(raw secret.String) []secret.String {
	return credential.Secrets(raw, map[string]bool{"auth_mode": true, "last_refresh": true})
}

// Run implements providers.Provider. The turn's own end decides what the run came to, not the exit status; a cancelled run is
// interrupted first. A run that only tries to reach the model again, which Codex does without end, is given up as ErrNetwork.
func (p *Provider) Run(ctx context.Context, t providers.Task, emit func(providers.Message) error) (providers.Result, error) {
	if err := p.Check(t); err != nil {
		return providers.Result{}, err
	}
	login, err := ParseCredential(t.Credential)
	if err != nil {
		return providers.Result{}, err
	}
	if err := login.expired(p.cfg.Now()); err != nil {
		return providers.Result{}, err
	}
	if err := findConversation(ctx, t); err != nil {
		return providers.Result{}, err
	}
	words, err := instructions.Read(ctx, t, "AGENTS.md")
	if err != nil {
		return providers.Result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	child, err := p.start(ctx, t)
	if err != nil {
		return providers.Result{}, err
	}
	c := &conversation{
		cfg: p.cfg, task: t, instructions: words, child: child, emit: emit, cancel: cancel,
		in: lines.NewWriter(child.Stdin()), threadID: t.ResumeID, tools: make(map[string]string), spent: make(map[string]spending),
		ended: make(chan struct{}),
	}
	c.begin(login)
	return c.run(ctx)
}
