package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// ownLines are those that a worker logs before it has a job.
var ownLines = []string{
	"listening", "not root: the agent runs under the worker's own uid and can read what the worker can",
}

// TestEveryLogLineOfAJobNamesIt runs jobs and looks at all that their workers logged, down to debug.
func TestEveryLogLineOfAJobNamesIt(t *testing.T) {
	_, repoURL := startGit(t)
	base := env(t)
	for name, request := range map[string]map[string]any{
		"new session":      script("echo hello > hello.txt", "github", github(repoURL)),
		"chosen session":   script("exit 3", "websiteSessionId", "chosen"),
		"refused by clone": script("true", "github", github(strings.Replace(repoURL, "site", "none", 1))),
	} {
		t.Run(name, func(t *testing.T) {
			p := startWorker(t, with(base, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"]))
			s := p.post(request)
			s.end()
			p.exited()
			want := map[string]string{"session": s.events[0]["sessionId"].(string), "request": s.header.Get("X-Request-Id")}
			messages := linesWith(t, p, want)
			for _, message := range []string{"phase ended", "job ended", "request"} {
				if !slices.Contains(messages, message) {
					t.Errorf("no line %q", message)
				}
			}
		})
	}
}

// linesWith checks the fields of every line about the job, and returns their messages.
func linesWith(t *testing.T, p *proc, want map[string]string) (messages []string) {
	t.Helper()
	for line := range strings.Lines(p.logs.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Errorf("a line that is no JSON: %s", line)
			continue
		}
		message, _ := fields["message"].(string)
		if slices.Contains(ownLines, message) {
			continue
		}
		messages = append(messages, message)
		for field, value := range want {
			if fields[field] != value || value == "" || strings.Count(line, `"`+field+`":`) != 1 {
				t.Errorf("want %s=%q, once, in %s", field, value, line)
			}
		}
	}
	return messages
}
