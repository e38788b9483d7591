package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// agent shows one line of the agent: text as it is, the lines of the assistants that we know by what they mean, anything else
// in short.
func (v *View) agent(data json.RawMessage) {
	var text string
	if json.Unmarshal(data, &text) == nil {
		v.line("", plain, text)
		return
	}
	var l streamLine
	if json.Unmarshal(data, &l) != nil || !v.streamJSON(l) && !v.codex(data) {
		v.line("agent", dim, shorten(string(data), 120))
	}
}

// streamLine is what we read of a line of Claude Code's stream-json output, or of a script's.
type streamLine struct {
	Type    string `json:"type"`
	Subtype string `json:"subtype"`
	Parent  string `json:"parent_tool_use_id"` // set on the lines of an agent that the assistant started itself
	Message struct {
		Content blocks `json:"content"`
	} `json:"message"`

	Model string          `json:"model"` // of system/init
	Error json.RawMessage `json:"error"` // of system/api_retry

	IsError bool     `json:"is_error"` // of result
	Result  string   `json:"result"`
	Errors  []string `json:"errors"`
	Text    string   `json:"text"`     // of a script's output
	Exit    int      `json:"exitCode"` // of a script's result
	Signal  string   `json:"signal"`
	Denials []struct {
		Tool string `json:"tool_name"`
	} `json:"permission_denials"`
}

// block is one part of a message.
type block struct {
	Type    string                     `json:"type"`
	Text    string                     `json:"text"`
	Name    string                     `json:"name"` // of tool_use
	Input   map[string]json.RawMessage `json:"input"`
	IsError bool                       `json:"is_error"` // of tool_result
	Content blocks                     `json:"content"`
}

// blocks are a message's content; a plain string is one text block.
type blocks []block

// UnmarshalJSON implements json.Unmarshaler. Content of any other shape has no blocks.
func (b *blocks) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*b = blocks{{Type: "text", Text: text}}
		return nil
	}
	type list []block
	var l list
	if json.Unmarshal(data, &l) == nil {
		*b = blocks(l)
	}
	return nil
}

// streamJSON shows a line by its type; false: the type is unknown.
func (v *View) streamJSON(l streamLine) bool {
	switch l.Type {
	case "output":
		v.line("", plain, l.Text)
	case "system":
		v.system(l)
	case "assistant":
		for _, b := range l.Message.Content {
			v.assistant(b, l.Parent != "")
		}
	case "user":
		for _, b := range l.Message.Content {
			if b.Type == "tool_result" && b.IsError {
				v.line("error", red, firstLines(b.Content.text(), 5))
			}
		}
	case "result":
		v.result(l)
	case "stream_event", "rate_limit_event", "control_request", "control_response", "control_cancel_request", "keep_alive", "transcript_mirror":
	default:
		return false
	}
	return true
}

func (v *View) system(l streamLine) {
	switch l.Subtype {
	case "init":
		v.line("model", plain, l.Model)
	case "api_retry":
		v.line("agent", dim, "the model's API has trouble, trying again: "+string(l.Error))
	case "compact_boundary":
		v.line("agent", dim, "the conversation was shortened")
	}
}

func (v *View) assistant(b block, nested bool) {
	mark := ""
	if nested {
		mark = "› "
	}
	switch b.Type {
	case "text":
		if strings.TrimSpace(b.Text) != "" {
			v.line("agent", plain, mark+b.Text)
		}
	case "tool_use":
		v.line("tool", cyan, shorten(CleanLine(mark+b.Name+" "+salient(b.Input)), max(v.opts.Width-labelWidth-2, 160)))
	}
}

// result adds what the lines before have not said.
func (v *View) result(l streamLine) {
	for _, d := range l.Denials {
		v.line("denied", red, d.Tool)
	}
	switch {
	case l.Signal != "":
		v.line("error", red, "ended by a signal: "+l.Signal)
	case l.Exit != 0:
		v.line("error", red, fmt.Sprintf("exit status %d", l.Exit))
	}
	if !l.IsError {
		return
	}
	for _, e := range append(l.Errors, l.Result) {
		if e != "" {
			v.line("error", red, firstLines(e, 5))
		}
	}
}

// text joins the text blocks.
func (b blocks) text() string {
	var parts []string
	for _, one := range b {
		if one.Type == "text" {
			parts = append(parts, one.Text)
		}
	}
	return strings.Join(parts, "\n")
}

// telling are the inputs of tools that say most, in the order of how much.
var telling = []string{"command", "file_path", "notebook_path", "pattern", "query", "url", "path", "description", "prompt", "skill"}

// salient finds the part of a tool's input that tells people what it does.
func salient(input map[string]json.RawMessage) string {
	for _, key := range telling {
		var text string
		if json.Unmarshal(input[key], &text) == nil && strings.TrimSpace(text) != "" {
			return firstLines(text, 1)
		}
	}
	if todos := input["todos"]; todos != nil {
		var list []json.RawMessage
		_ = json.Unmarshal(todos, &list)
		return fmt.Sprintf("%d items", len(list))
	}
	if len(input) == 0 {
		return ""
	}
	var all bytes.Buffer
	enc := json.NewEncoder(&all)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(input)
	return all.String()
}

// firstLines cuts a text after n lines and says so.
func firstLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) <= n {
		return strings.Join(lines, "\n")
	}
	return strings.Join(lines[:n], "\n") + " …"
}
