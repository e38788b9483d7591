package claudecode

import "encoding/json"

// block is a part of a message's content that begins or ends a tool's run.
type block struct {
	Type      string `json:"type"`
	ID        string `json:"id"`          // of tool_use
	ToolUseID string `json:"tool_use_id"` // of tool_result
}

// tools are those that the assistant waits for, and with it those of the agents that it started.
type tools map[string]struct{}

// add notes what a line says of tools, and reports whether one runs now.
func (t tools) add(l line) bool {
	var blocks []block
	_ = json.Unmarshal(l.Message.Content, &blocks) // content can be a string, too
	for _, b := range blocks {
		switch b.Type {
		case "tool_use":
			t[b.ID] = struct{}{}
		case "tool_result":
			delete(t, b.ToolUseID)
		}
	}
	return len(t) > 0
}
