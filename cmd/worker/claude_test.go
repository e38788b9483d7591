package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/tooltest"
)

const modelKey = "sk-ant-api03-CANARYmodelKEY0123456789"

// claudeEnv lets a worker find the real CLI and the scripted model.
func claudeEnv(t testing.TB, base map[string]string, model *modeltest.Endpoint) map[string]string {
	t.Helper()
	bin := filepath.Dir(tooltest.Path(t, "claude"))
	return with(base, "PATH", bin+":"+os.Getenv("PATH"), "ANTHROPIC_BASE_URL", model.URL, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"])
}

func claude(text string, fields ...any) map[string]any {
	request := script(text, fields...)
	request["codingAssistantProvider"] = "ClaudeAgentSDK"
	request["codingAssistantAuthentication"] = map[string]any{"apiKey": modelKey}
	return request
}

// TestClaudeCode is the main job with its real parts: the real CLI edits, the worker commits and pushes, and a second
// worker with an empty disk resumes both the files and the conversation.
func TestClaudeCode(t *testing.T) {
	forEachStore(t, func(t *testing.T, base map[string]string) {
		host, repoURL := startGit(t)
		model := modeltest.StartTest(t,
			modeltest.Turn{Text: "I will write the file.", Calls: []modeltest.Call{modeltest.Bash("echo 'hello from claude' > hello.txt && pwd")}},
			modeltest.Turn{Text: "The file is written. The code word is marzipan."},
			modeltest.Turn{Text: "I remember.", Calls: []modeltest.Call{modeltest.Bash("cat hello.txt && echo again >> hello.txt")}},
			modeltest.Turn{Text: "Done again."},
		)
		s := startWorker(t, claudeEnv(t, base, model)).post(claude("Add a friendly greeting", "github", github(repoURL), "websiteSessionId", "talk"))
		done := s.completed()
		if usage, ok := done["usage"].(map[string]any); !ok || usage["inputTokens"].(float64) <= 0 || usage["costUsd"].(float64) <= 0 {
			t.Errorf("usage: %v", done["usage"])
		}
		branch := done["branch"].(string)
		dir := host.Dir("acme/site")
		if got := git(t, dir, "show", branch+":hello.txt"); got != "hello from claude\n" {
			t.Errorf("hello.txt: %q", got)
		}

		s = startWorker(t, claudeEnv(t, base, model)).post(claude("And once more", "websiteSessionId", "talk",
			"github", map[string]any{"repoUrl": repoURL, "accessToken": gitToken}))
		s.completed()
		if got := git(t, dir, "show", branch+":hello.txt"); got != "hello from claude\nagain\n" {
			t.Errorf("hello.txt after the resume: %q", got)
		}
		last := lastMessageRequest(t, model)
		for _, want := range []string{"Add a friendly greeting", "The code word is marzipan", "And once more"} {
			if !strings.Contains(last.Text(), want) {
				t.Errorf("the resumed conversation lacks %q:\n%s", want, last.Text())
			}
		}
		if got := last.Header.Get("X-Api-Key"); got != modelKey {
			t.Errorf("the endpoint was given the key %q", got)
		}
	})
}

func lastMessageRequest(t testing.TB, model *modeltest.Endpoint) modeltest.Request {
	t.Helper()
	requests := model.Requests()
	for i := len(requests) - 1; i >= 0; i-- {
		if len(requests[i].Messages) > 0 {
			return requests[i]
		}
	}
	t.Fatal("the model was asked nothing")
	return modeltest.Request{}
}

func TestClaudeCodeWithoutRepository(t *testing.T) {
	forEachStore(t, func(t *testing.T, base map[string]string) {
		model := modeltest.StartTest(t,
			modeltest.Turn{Calls: []modeltest.Call{modeltest.Bash("echo idea > idea.txt")}},
			modeltest.Turn{Text: "Noted: apricot."},
			modeltest.Turn{Calls: []modeltest.Call{modeltest.Bash("cat idea.txt")}},
			modeltest.Turn{Text: "Yes."},
		)
		startWorker(t, claudeEnv(t, base, model)).post(claude("Note an idea", "websiteSessionId", "ideas")).completed()
		startWorker(t, claudeEnv(t, base, model)).post(claude("What was it?", "websiteSessionId", "ideas")).completed()
		if text := lastMessageRequest(t, model).Text(); !strings.Contains(text, "apricot") || !strings.Contains(text, "idea") {
			t.Errorf("the resumed conversation:\n%s", text)
		}
	})
}

func TestClaudeCodeContextTooLong(t *testing.T) {
	_, repoURL := startGit(t)
	model := modeltest.StartTest(t, modeltest.Turn{Status: 400, Message: "prompt is too long: 300000 tokens > 200000 maximum", Times: modeltest.Always})
	p := startWorker(t, claudeEnv(t, env(t), model))
	p.post(claude("Do something", "github", github(repoURL))).failed("provider_error")
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
