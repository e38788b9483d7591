package view

import (
	"encoding/json"
	"strings"
)

// notification is what we read of a line of Codex's app-server.
type notification struct {
	Method string `json:"method"`
	Params struct {
		Item struct {
			Type     string `json:"type"`
			Text     string `json:"text"`
			Command  string `json:"command"`
			Output   string `json:"aggregatedOutput"`
			ExitCode int    `json:"exitCode"`
			Server   string `json:"server"`
			Tool     string `json:"tool"`
			Query    string `json:"query"`
			Changes  []struct {
				Path string `json:"path"`
			} `json:"changes"`
		} `json:"item"`
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
		WillRetry bool `json:"willRetry"`
	} `json:"params"`
}

// codex shows a line of Codex by what it means; false: it is none.
func (v *View) codex(data json.RawMessage) bool {
	var n notification
	if json.Unmarshal(data, &n) != nil || !strings.Contains(n.Method, "/") && n.Method != "error" {
		return false
	}
	item := n.Params.Item
	switch {
	case n.Method == "item/started":
		v.codexTool(n)
	case n.Method == "item/completed" && item.Type == "agentMessage":
		v.line("agent", plain, item.Text)
	case n.Method == "item/completed" && item.Type == "commandExecution" && item.ExitCode != 0:
		v.line("error", red, firstLines(item.Output, 5))
	case n.Method == "error" && n.Params.WillRetry:
		v.line("agent", dim, "the model's API has trouble, trying again: "+firstLines(n.Params.Error.Message, 1))
	case n.Method == "error":
		v.line("error", red, firstLines(n.Params.Error.Message, 5))
	}
	return true
}

func (v *View) codexTool(n notification) {
	item := n.Params.Item
	var words []string
	switch item.Type {
	case "commandExecution":
		words = []string{"shell", firstLines(item.Command, 1)}
	case "fileChange":
		words = []string{"edit"}
		for _, c := range item.Changes {
			words = append(words, c.Path)
		}
	case "mcpToolCall":
		words = []string{item.Server, item.Tool}
	case "webSearch":
		words = []string{"search", item.Query}
	default:
		return
	}
	v.line("tool", cyan, shorten(CleanLine(strings.Join(words, " ")), max(v.opts.Width-labelWidth-2, 160)))
}
