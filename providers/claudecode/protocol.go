package claudecode

import (
	"encoding/json"
	"fmt"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// What the worker writes to the CLI's standard input: one JSON object a line.
type (
	userLine struct {
		Type    string      `json:"type"`
		Message userMessage `json:"message"`
	}
	userMessage struct {
		Role    string `json:"role"`
		Content []any  `json:"content"`
	}
	textBlock struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	imageBlock struct {
		Type   string      `json:"type"`
		Source imageSource `json:"source"`
	}
	imageSource struct {
		Type      string `json:"type"`
		MediaType string `json:"media_type"`
		Data      []byte `json:"data"`
	}
	controlRequest struct {
		Type      string `json:"type"`
		RequestID string `json:"request_id"`
		Request   any    `json:"request"`
	}
	controlResponse struct {
		Type     string `json:"type"`
		Response any    `json:"response"`
	}
)

// initializeID names the one request whose answer matters: without it the run would begin without the project's instructions.
const initializeID = "initialize"

// initialize begins the conversation; instructions are added to the CLI's own system prompt.
func initialize(instructions string) controlRequest {
	request := map[string]any{"subtype": "initialize"}
	if instructions != "" {
		request["appendSystemPrompt"] = instructions
	}
	return controlRequest{Type: "control_request", RequestID: initializeID, Request: request}
}

func interrupt() controlRequest {
	return controlRequest{Type: "control_request", RequestID: "interrupt", Request: map[string]any{"subtype": "interrupt"}}
}

func prompt(p providers.Prompt) userLine {
	content := make([]any, 0, len(p.Blocks))
	for _, b := range p.Blocks {
		if b.MediaType == "" {
			content = append(content, textBlock{Type: "text", Text: b.Text})
		} else {
			content = append(content, imageBlock{Type: "image", Source: imageSource{Type: "base64", MediaType: b.MediaType, Data: b.Data}})
		}
	}
	return userLine{Type: "user", Message: userMessage{Role: "user", Content: content}}
}

// answer replies to what the CLI asks its host. Nobody is there: a tool that the permission mode does not let
// through by itself is denied, and so is everything else.
func answer(requestID, subtype, mode string, input json.RawMessage) controlResponse {
	if subtype != "can_use_tool" {
		return controlResponse{Type: "control_response", Response: map[string]any{
			"subtype": "error", "request_id": requestID, "error": fmt.Sprintf("nobody is here to answer %q", subtype),
		}}
	}
	verdict := map[string]any{"behavior": "deny", "message": "The permission mode " + mode + " does not allow this, and nobody is here to be asked."}
	if mode == modeBypass {
		verdict = map[string]any{"behavior": "allow", "updatedInput": input}
	}
	return controlResponse{Type: "control_response", Response: map[string]any{
		"subtype": "success", "request_id": requestID, "response": verdict,
	}}
}

// encode makes lines of the values.
func encode(values ...any) ([]byte, error) {
	var lines []byte
	for _, v := range values {
		line, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode a line for claude: %w", err)
		}
		lines = append(append(lines, line...), '\n')
	}
	return lines, nil
}
