package modeltest

import (
	"encoding/json"
	"net/http"
	"time"
)

// Always as a Turn's Times lets it answer every further request.
const Always = -1

// Turn is the model's answer to one request: words, then tool calls, or one of the faults.
type Turn struct {
	Text  string
	Calls []Call
	Usage Usage // the zero Usage becomes DefaultUsage

	Delay time.Duration // before the first byte of the answer
	Times int           // how many requests it answers; 0 is one, Always is every further one

	Status     int           // from 400 on: answer with this HTTP status and an API error instead
	RetryAfter time.Duration // with Status: the retry-after header, in whole seconds
	Header     http.Header   // of the answer, beside the usual ones
	ErrorType  string        // with Status or StreamError: the API's name for it; empty goes by the status
	Message    string        // with Status or StreamError: the error's words

	StreamError bool // an error event after half of the text
	Cut         bool // the connection is closed after half of the text
	Hang        bool // nothing comes after half of the text, until the client leaves or the endpoint is closed
}

// Call is a tool that the model wants used: Call{Name: "Bash", Input: map[string]any{"command": "date"}}.
type Call struct {
	ID    string // empty: made from the request's number and the call's
	Space string // the namespace that the tool's name is in, of OpenAI's; empty: none
	Name  string
	Input any // marshalled to the JSON object that the tool takes
}

// Usage is what a Turn says that it cost.
type Usage struct {
	Input, Output, CacheRead, CacheWrite int64
}

// DefaultUsage is the Usage of a Turn that has none.
var DefaultUsage = Usage{Input: 100, Output: 20}

// Bash is a call of Claude Code's shell tool.
func Bash(command string) Call {
	return Call{Name: "Bash", Input: map[string]any{"command": command, "description": "run a command"}}
}

// Write is a call of Claude Code's tool that writes a whole file; the path must be absolute.
func Write(path, content string) Call {
	return Call{Name: "Write", Input: map[string]any{"file_path": path, "content": content}}
}

// Edit is a call of Claude Code's tool that replaces one string in a file it has read before.
func Edit(path, before, after string) Call {
	return Call{Name: "Edit", Input: map[string]any{"file_path": path, "old_string": before, "new_string": after}}
}

// Read is a call of Claude Code's tool that reads a file.
func Read(path string) Call {
	return Call{Name: "Read", Input: map[string]any{"file_path": path}}
}

func (t Turn) usage() Usage {
	if t.Usage == (Usage{}) {
		return DefaultUsage
	}
	return t.Usage
}

func (t Turn) stopReason() string {
	if len(t.Calls) > 0 {
		return "tool_use"
	}
	return "end_turn"
}

// half is the text before the place of a fault.
func (t Turn) half() string {
	text := []rune(t.Text)
	return string(text[:len(text)/2])
}

// apiError is the body of an error, the same in an answer and in a stream.
func (t Turn) apiError() map[string]any {
	kind, words := t.ErrorType, t.Message
	if kind == "" {
		kind = errorType(t.Status)
	}
	if words == "" {
		words = "scripted " + kind
	}
	return map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": words}}
}

func errorType(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "invalid_request_error"
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case 529, 0:
		return "overloaded_error"
	default:
		return "api_error"
	}
}

func usageJSON(u Usage) map[string]any {
	return map[string]any{
		"input_tokens": u.Input, "output_tokens": u.Output,
		"cache_read_input_tokens": u.CacheRead, "cache_creation_input_tokens": u.CacheWrite,
	}
}

func inputJSON(c Call) json.RawMessage {
	input, err := json.Marshal(c.Input)
	if err != nil || string(input) == "null" {
		return json.RawMessage("{}")
	}
	return input
}
