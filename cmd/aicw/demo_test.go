package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/tooltest"
)

const demoKey = "sk-ant-api03-CANARYdemoKEY0123456789"

// demoShows runs the demo and checks what any of them must show: two jobs of one session, each pushed.
func demoShows(t *testing.T, c call, want ...string) string {
	t.Helper()
	got := aicw(t, "", c)
	if got.status != 0 {
		t.Fatalf("status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
	sessions := regexp.MustCompile(`(?m)^session  (\S+) \((new|resumed), `).FindAllStringSubmatch(got.stdout, -1)
	if len(sessions) != 2 || sessions[0][1] != sessions[1][1] || sessions[0][2] != "new" || sessions[1][2] != "resumed" {
		t.Errorf("sessions are %v", sessions)
	}
	want = append(want, "That was all.", "+  <footer>Made by a worker</footer>", "+++ b/CHANGELOG.md")
	for _, text := range want {
		if !strings.Contains(got.stdout, text) {
			t.Errorf("%q is missing in\n%s", text, got.stdout)
		}
	}
	if n := strings.Count(got.stdout, ", pushed\n"); n != 2 {
		t.Errorf("%d pushes were told", n)
	}
	return got.stdout
}

func TestDemo(t *testing.T) {
	c := call{args: []string{"demo"}, env: map[string]string{"PATH": os.Getenv("PATH")}}
	demoShows(t, c, "index.html has a footer", "feat: add a footer to every page", "the last commit here is: feat: add a footer")
}

// The same with the real Claude Code, and a model that is scripted.
func TestDemoWithClaudeCode(t *testing.T) {
	const edit = `for p in *.html; do awk '{ sub("</body>", "  <footer>Made by a worker</footer>\n</body>"); print }' $p >p && cat p >$p; done; rm p`
	model := modeltest.StartTest(
		t,
		modeltest.Turn{Text: "I add the footer.", Calls: []modeltest.Call{modeltest.Bash(edit)}},
		modeltest.Turn{Text: "Every page has it."},
		modeltest.Turn{Text: "I write it down.", Calls: []modeltest.Call{modeltest.Bash("echo footers >CHANGELOG.md")}},
		modeltest.Turn{Text: "It is written down."},
	)
	shown := demoShows(t, call{args: []string{"demo"}, env: map[string]string{
		"PATH":              filepath.Dir(tooltest.Path(t, "claude")) + ":" + os.Getenv("PATH"),
		"ANTHROPIC_API_KEY": demoKey, "ANTHROPIC_BASE_URL": model.URL,
	}}, "agent    I add the footer.", "tool     Bash for p in *.html", "agent    Every page has it.", "agent    It is written down.", "cost     $")
	if strings.Contains(shown, demoKey) {
		t.Error("the demo shows the credential")
	}
	requests := model.Requests()
	if last := requests[len(requests)-1]; !strings.Contains(last.Text(), "Every page has it.") {
		t.Errorf("the second job does not know the first conversation:\n%s", last.Text())
	}
}

func TestDemoCast(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "claude"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, provider string
		env            map[string]string
		want, problem  string
	}{
		{"nothing", "", nil, scriptName, ""},
		{"credential without the CLI", "", map[string]string{"ANTHROPIC_API_KEY": "k"}, scriptName, ""},
		{"both", "", map[string]string{"CODING_ASSISTANT_AUTHENTICATION": "k", "PATH": bin}, claudeName, ""},
		{"both, script wanted", "script", map[string]string{"ANTHROPIC_API_KEY": "k", "PATH": bin}, scriptName, ""},
		{"no credential", "claude-code", map[string]string{"PATH": bin}, "", "no credential"},
		{"no CLI", "claude-code", map[string]string{"ANTHROPIC_API_KEY": "k"}, "", "no claude on the PATH"},
		{"unknown", "codex", nil, "", "the demo knows"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := &app{getenv: func(name string) string { return test.env[name] }}
			got, err := a.chooseCast(test.provider)
			if got.provider != test.want || got.credential.IsZero() != (test.want != claudeName) {
				t.Errorf("cast is %+v", got)
			}
			if (err == nil) != (test.problem == "") || err != nil && (status(err) != exitUsage || !strings.Contains(err.Error(), test.problem)) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
