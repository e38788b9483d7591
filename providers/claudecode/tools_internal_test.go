package claudecode

import "testing"

func TestToolsThatRun(t *testing.T) {
	seen := make(tools)
	for _, step := range []struct {
		line string
		runs bool
	}{
		{`{"type":"system","subtype":"init","session_id":"s"}`, false},
		{`{"type":"user","message":{"content":"words, not blocks"}}`, false},
		{`{"type":"assistant","message":{"content":[{"type":"text","text":"I look"}]}}`, false},
		{`{"type":"assistant","message":{"content":[{"type":"tool_use","id":"one"}]}}`, true},
		{`{"type":"assistant","message":{"content":[{"type":"tool_use","id":"two"}]}}`, true},
		{`{"type":"system","subtype":"status"}`, true},
		{`{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"one"}]}}`, true},
		{`{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"unknown"}]}}`, true},
		{`{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"two"}]}}`, false},
		{`{"type":"assistant","message":{"content":[{"type":"text","text":"done"}]}}`, false},
		{`not even JSON`, false},
	} {
		if got := seen.add(parseLine([]byte(step.line))); got != step.runs {
			t.Errorf("after %s: a tool runs: %t, want %t", step.line, got, step.runs)
		}
	}
}
