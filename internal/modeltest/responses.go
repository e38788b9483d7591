package modeltest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// responses answers in the form of OpenAI's Responses API, streamed: its clients here ask for nothing else.
type responses struct {
	turn Turn
	n    int
}

// Exec is a call of Codex's shell tool.
func Exec(command string) Call {
	return Call{Name: "exec_command", Input: map[string]any{"cmd": command}}
}

func (a responses) stream(ctx context.Context, w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	s := &eventStream{w: w, flusher: http.NewResponseController(w)}
	id := fmt.Sprintf("resp_%06d", a.n)
	s.send("response.created", map[string]any{"response": map[string]any{"id": id}})
	if a.fault(ctx, s, id) {
		return
	}
	for i, item := range a.items() {
		s.send("response.output_item.done", map[string]any{"output_index": i, "item": item})
	}
	u := a.turn.usage()
	input := u.Input + u.CacheRead + u.CacheWrite
	s.send("response.completed", map[string]any{"response": map[string]any{"id": id, "usage": map[string]any{
		"input_tokens": input, "input_tokens_details": map[string]any{"cached_tokens": u.CacheRead},
		"output_tokens": u.Output, "output_tokens_details": map[string]any{"reasoning_tokens": 0},
		"total_tokens": input + u.Output,
	}}})
}

// items are the turn's words and then its calls.
func (a responses) items() []any {
	var items []any
	if a.turn.Text != "" {
		items = append(items, map[string]any{
			"type": "message", "id": fmt.Sprintf("msg_%06d", a.n), "role": "assistant",
			"content": []any{map[string]any{"type": "output_text", "text": a.turn.Text}},
		})
	}
	for i, c := range a.turn.Calls {
		item := map[string]any{
			"type": "function_call", "id": fmt.Sprintf("fc_%06d_%d", a.n, i), "call_id": fmt.Sprintf("call_%06d_%d", a.n, i),
			"name": c.Name, "arguments": string(inputJSON(c)),
		}
		if c.Space != "" {
			item["namespace"] = c.Space
		}
		items = append(items, item)
	}
	return items
}

// fault sends half of the text and then does what the turn says; it reports whether the turn has a fault.
func (a responses) fault(ctx context.Context, s *eventStream, id string) bool {
	if !a.turn.StreamError && !a.turn.Cut && !a.turn.Hang {
		return false
	}
	if head := a.turn.half(); head != "" {
		s.send("response.output_text.delta", map[string]any{"item_id": fmt.Sprintf("msg_%06d", a.n), "delta": head})
	}
	switch {
	case a.turn.StreamError:
		s.send("response.failed", map[string]any{"response": map[string]any{"id": id, "error": a.turn.openAIError()}})
	case a.turn.Hang:
		<-ctx.Done()
	case a.turn.Cut:
		panic(http.ErrAbortHandler)
	}
	return true
}

// openAIError is the error object of an answer and of a stream.
func (t Turn) openAIError() map[string]any {
	code, words := t.ErrorType, t.Message
	if code == "" {
		code = openAICode(t.Status)
	}
	if words == "" {
		words = "scripted " + code
	}
	return map[string]any{"message": words, "type": "invalid_request_error", "code": code}
}

func openAICode(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "invalid_api_key"
	case http.StatusNotFound:
		return "model_not_found"
	case http.StatusTooManyRequests:
		return "rate_limit_exceeded"
	default:
		return "server_error"
	}
}

// responsesBody is what a client posts to /v1/responses.
type responsesBody struct {
	Model        string          `json:"model"`
	Stream       bool            `json:"stream"`
	Instructions string          `json:"instructions"`
	Input        []responsesItem `json:"input"`
}

type responsesItem struct {
	Type      string          `json:"type"`
	Role      string          `json:"role"`
	Content   json.RawMessage `json:"content"`
	Name      string          `json:"name"`
	Arguments string          `json:"arguments"`
	Output    json.RawMessage `json:"output"`
	Tools     []struct {
		Name string `json:"name"`
	} `json:"tools"`
}

func (r *Request) decodeResponses() error {
	var body responsesBody
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return err
	}
	r.Model, r.Stream, r.System = body.Model, body.Stream, body.Instructions
	for _, item := range body.Input {
		for _, t := range item.Tools {
			r.Tools = append(r.Tools, t.Name)
		}
		if m, ok := item.message(); ok {
			r.Messages = append(r.Messages, m)
		}
	}
	return nil
}

// message is the item as one turn of the conversation.
func (i responsesItem) message() (Message, bool) {
	switch i.Type {
	case "message":
		return Message{Role: i.Role, Blocks: responsesBlocks(i.Content)}, true
	case "function_call":
		return Message{Role: "assistant", Blocks: []Block{{Type: "tool_use", Name: i.Name, Input: json.RawMessage(i.Arguments)}}}, true
	case "function_call_output":
		return Message{Role: "user", Blocks: []Block{{Type: "tool_result", Text: joinText(responsesBlocks(i.Output))}}}, true
	}
	return Message{}, false
}

// responsesBlocks reads content in either of its forms, a string or a list.
func responsesBlocks(content json.RawMessage) []Block {
	var text string
	if json.Unmarshal(content, &text) == nil {
		return []Block{{Type: "text", Text: text}}
	}
	var parts []struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		ImageURL string `json:"image_url"`
	}
	if json.Unmarshal(content, &parts) != nil {
		return nil
	}
	blocks := make([]Block, 0, len(parts))
	for _, p := range parts {
		b := Block{Type: "text", Text: p.Text}
		if p.ImageURL != "" {
			b = imageBlock(p.ImageURL)
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// imageBlock reads a data URL.
func imageBlock(url string) Block {
	head, data, _ := strings.Cut(strings.TrimPrefix(url, "data:"), ",")
	mediaType, _, _ := strings.Cut(head, ";")
	decoded, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return Block{Type: "image", MediaType: mediaType}
	}
	return Block{Type: "image", MediaType: mediaType, Data: decoded}
}
