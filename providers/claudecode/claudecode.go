// Package claudecode runs Claude Code: its command line interface as one long-lived child that speaks lines of JSON
// ("stream-json") and takes control requests, as the vendor's own Agent SDK drives it.
//
// The repository that the assistant works on is somebody else's: its settings, hooks and MCP servers are not loaded,
// and it cannot say where the model's API is. Its CLAUDE.md is honoured: it is read as the agent and given to the
// assistant as instructions.
package claudecode

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/internal/instructions"
	"github.com/ai-coding-worker/ai-coding-worker/providers/internal/lines"
)

// DefaultBaseURL is the model's API where a task names none. It is always given to the CLI, so that nothing else can choose it.
const DefaultBaseURL = "https://api.anthropic.com"

// instructionFiles are the project's own words to the assistant, in the order in which the CLI itself reads them.
var instructionFiles = []string{"CLAUDE.md", ".claude/CLAUDE.md"}

// The graces of a run's end: see Config.
const (
	defaultInterruptGrace = 5 * time.Second
	defaultExitGrace      = 10 * time.Second
)

// Config is what a Provider needs; the zero value of each field but Path is a default.
type Config struct {
	Path           string        // of the CLI, absolute
	InterruptGrace time.Duration // how long a cancelled run may take to end its turn, before it is killed; 5 s
	ExitGrace      time.Duration // how long the CLI may take to exit after its result (it stops what runs in the background); 10 s
	Now            func() time.Time
	NewID          func() string // a UUID: the CLI takes nothing else for a session's ID
}

// Provider runs Claude Code. It is stateless and safe for concurrent use.
type Provider struct {
	cfg Config
}

// New makes a Provider.
func New(cfg Config) *Provider {
	if cfg.InterruptGrace == 0 {
		cfg.InterruptGrace = defaultInterruptGrace
	}
	if cfg.ExitGrace == 0 {
		cfg.ExitGrace = defaultExitGrace
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewID == nil {
		cfg.NewID = uuid.NewString
	}
	return &Provider{cfg: cfg}
}

// Info implements providers.Provider. The state is the conversations alone: not the folder's settings, and no credential,
// which is never written.
func (*Provider) Info() providers.Info {
	return providers.Info{
		Name:            "claude-code",
		Aliases:         []string{"ClaudeAgentSDK", "claude"},
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
		return fmt.Errorf("%w: %q is no session ID of Claude Code", providers.ErrSessionNotFound, t.ResumeID)
	}
	return checkOptions(t.Options)
}

const credentialForms = `want an API key, an OAuth token (sk-ant-oat…), {"apiKey":…}, or the content of Claude Code's .credentials.json`

// Run implements providers.Provider. A result line decides what the run came to, not the exit status; a cancelled run is
// interrupted first, so that the CLI can write down how far it came.
func (p *Provider) Run(ctx context.Context, t providers.Task, emit func(providers.Message) error) (providers.Result, error) {
	if err := p.Check(t); err != nil {
		return providers.Result{}, err
	}
	credential, err := ParseCredential(t.Credential)
	if err != nil {
		return providers.Result{}, err
	}
	if err := credential.expired(p.cfg.Now()); err != nil {
		return providers.Result{}, err
	}
	words, err := instructions.Read(ctx, t, instructionFiles...)
	if err != nil {
		return providers.Result{}, err
	}
	input, err := encode(initialize(words), prompt(t.Prompt))
	if err != nil {
		return providers.Result{}, err
	}
	child, err := p.start(ctx, t, credential)
	if err != nil {
		return providers.Result{}, err
	}
	c := &conversation{cfg: p.cfg, task: t, child: child, emit: emit, in: lines.NewWriter(child.Stdin()), tools: make(tools), ended: make(chan struct{})}
	c.in.Send(input)
	return c.run(ctx)
}
