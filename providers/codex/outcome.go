package codex

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

const statusOverloaded = 529

// failure is an error as the CLI tells it: its words, and its cause by a fixed name.
type failure struct {
	Message string          `json:"message"`
	Info    json.RawMessage `json:"codexErrorInfo"` // a name, or an object with the name as its one member
}

func (f *failure) words() string {
	if f == nil || f.Message == "" {
		return "codex failed without a word"
	}
	return f.Message
}

// cause is the failure's name and the HTTP status that came with it; 0: none.
func (f *failure) cause() (name string, status int) {
	if f == nil || json.Unmarshal(f.Info, &name) == nil {
		return name, 0
	}
	var info map[string]struct {
		Status int `json:"httpStatusCode"`
	}
	_ = json.Unmarshal(f.Info, &info)
	for name, details := range info {
		return name, details.Status
	}
	return "", 0
}

// failure reads how the turn ended. When the CLI has given up trying again, its last word names no cause, and that of the
// last attempt stands.
func (p *params) failure(task providers.Task, retried *failure) error {
	f := p.Turn.Error
	switch p.Turn.Status {
	case "completed":
		return nil
	case "interrupted":
		return errors.New("codex interrupted its turn by itself")
	}
	name, status := f.cause()
	if name == "other" && retried != nil {
		name, status = retried.cause()
	}
	switch {
	case name == "unauthorized", status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%w: %s", providers.ErrAuth, f.words())
	case name == "usageLimitExceeded", name == "rateLimitExceeded", name == "serverOverloaded",
		status == http.StatusTooManyRequests, status == statusOverloaded, status == http.StatusServiceUnavailable:
		return &providers.LimitError{Reason: f.words()}
	case name == "contextWindowExceeded":
		return fmt.Errorf("%w: %s", providers.ErrContextTooLong, f.words())
	case name == "modelNotFound" && task.Options.Model != "":
		return &providers.FieldError{Field: "providerOptions.model", Reason: f.words()}
	case status == 0 && (name == "httpConnectionFailed" || name == "responseStreamConnectionFailed" || name == "responseStreamDisconnected"):
		return fmt.Errorf("%w: %s", providers.ErrNetwork, f.words())
	}
	return errors.New(f.words())
}
