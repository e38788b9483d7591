// Package providers is the plug-in contract for coding assistants, and the registry of those that a worker has.
// To add one: a package beside claudecode that implements Provider, a line in the package all, and the contract
// test of providertest.
package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// Provider runs one coding assistant. Implementations are stateless and safe for concurrent use.
type Provider interface {
	Info() Info
	// Check looks at options, credential and prompt before anything is spent; a *FieldError names the request's field.
	// It sees no Dir, Home or Agent.
	Check(t Task) error
	// Run starts the assistant and emits its lines in order from one goroutine. It returns only after the child and its whole tree
	// are gone and all output is emitted. An error from emit stops the run and is returned. On cancellation it returns the
	// context's cause, after the grace. A line of unknown shape is emitted, never dropped, never fatal; one over
	// agentproc.MaxLine becomes a truncated JSON string and the run goes on. A failed run is one of the Err values
	// below (wrapped), an *agentproc.ExitError where the child says no more than its exit status, or another error, which counts as a provider's.
	// The Result is good for what was spent even beside an error. Nothing is written outside Task.Dir and Task.Home.
	Run(ctx context.Context, t Task, emit func(Message) error) (Result, error)
}

// SecretLister is what a Provider implements whose credential has parts: a document with tokens in it. Without it the
// credential as a whole is what must not be seen.
type SecretLister interface {
	// Secrets returns every part of the credential that must be scrubbed from what the agent prints. It takes malformed
	// credentials too, and then returns the whole.
	Secrets(credential secret.String) []secret.String
}

// Info describes a provider.
type Info struct {
	Name            string   // canonical: "claude-code"
	Aliases         []string // other accepted spellings, any case
	State           []string // slash-separated paths below Task.Home worth keeping for a resume; never a credential
	NeedsCredential bool
}

// Task is one run.
type Task struct {
	Dir, Home  string // absolute: the checkout; the agent's private HOME
	Prompt     Prompt
	ResumeID   string // the assistant's own session ID, from an earlier Result; empty starts anew
	Credential secret.String
	BaseURL    string // of the model's API; empty is the provider's own
	Options    Options
	Agent      *agentproc.Agent
}

// Prompt is the request in words, and pictures.
type Prompt struct {
	Blocks []Block
}

// Block is one part of a prompt: text, or an image if MediaType is set.
type Block struct {
	Text      string
	MediaType string // image/jpeg, image/png, image/gif or image/webp
	Data      []byte // of the image, decoded
}

// Text joins the prompt's text blocks by blank lines.
func (p Prompt) Text() string {
	var texts []string
	for _, b := range p.Blocks {
		if b.MediaType == "" {
			texts = append(texts, b.Text)
		}
	}
	return strings.Join(texts, "\n\n")
}

// Options are the request's providerOptions.
type Options struct {
	Model           string
	PermissionMode  string // empty: the provider's default, which asks nobody
	SkipPermissions *bool
	MaxTurns        int // 0: no limit
}

// Kind tells what a Message is for; clients see the line of each.
type Kind int

// The kinds of Message.
const (
	KindOutput Kind = iota // an ordinary line
	KindInit               // the assistant told its session ID
	KindResult             // the assistant's own terminal line
)

// Message is one line that the agent printed.
type Message struct {
	Kind      Kind
	SessionID string          // on KindInit
	Model     string          // where the line names it
	ToolRuns  bool            // the assistant waits for a tool from this line on: the silence that follows is the tool's
	Raw       json.RawMessage // the line as printed, scrubbed, one line; a line that is not JSON becomes a JSON string
}

// Result is what a run came to.
type Result struct {
	SessionID string // to resume by; empty if the assistant keeps none
	Summary   string // the assistant's last words, for people
	Usage     Usage  // of this run, not of the conversation so far
}

// Usage is what a run cost; zero where the assistant does not tell.
type Usage struct {
	InputTokens, OutputTokens int64
	CostUSD                   float64
}

// What can go wrong in every assistant; a provider wraps these with the assistant's own words.
var (
	ErrAuth            = errors.New("the provider refused the credential")
	ErrLimit           = errors.New("the provider refused for now") // what every *LimitError is
	ErrContextTooLong  = errors.New("the conversation is too long for the model")
	ErrNetwork         = errors.New("the model's API cannot be reached")
	ErrMaxTurns        = errors.New("the turn limit was reached")
	ErrNotInstalled    = errors.New("the assistant is not installed")
	ErrSessionNotFound = errors.New("the assistant does not know the session")
)

// LimitError is a quota that is used up or an overloaded service.
type LimitError struct {
	Reason     string        // the assistant's own words
	RetryAfter time.Duration // 0: not known
}

func (e *LimitError) Error() string { return ErrLimit.Error() + ": " + e.Reason }

// Is makes errors.Is(err, ErrLimit) true.
func (e *LimitError) Is(target error) bool { return target == ErrLimit }

// FieldError names the field of a request that a provider cannot take.
type FieldError struct {
	Field  string // as in the request: "providerOptions.model"
	Reason string // the value's problem and the way out
}

func (e *FieldError) Error() string { return fmt.Sprintf("%s: %s", e.Field, e.Reason) }
