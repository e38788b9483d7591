package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/tooltest"
)

// assistant is a coding assistant with its real CLI, before a scripted model.
type assistant struct {
	name  string
	shell func(command string) modeltest.Call
	sleep string // an argument by which its tools are found among the processes

	obeyed []string // what of a hostile repository runs where it is trusted
}

var assistants = []assistant{
	{"claude-code", modeltest.Bash, "5151.17", []string{"claude-SessionStart", "claude-mcp"}},
	{"codex", modeltest.Exec, "5252.17", []string{"codex-mcp"}},
}

// sleeps is a call that outlives every test, with a child that has left its process group.
func (a assistant) sleeps() modeltest.Call {
	return a.shell("(setsid sleep " + a.sleep + " &); sleep " + a.sleep)
}

// worker starts one that finds the real CLIs and the scripted model.
func (a assistant) worker(t testing.TB, base map[string]string, model *modeltest.Endpoint, changes ...string) *proc {
	t.Helper()
	path := filepath.Dir(tooltest.Path(t, "claude")) + ":" + filepath.Dir(tooltest.Path(t, "codex")) + ":" + os.Getenv("PATH")
	base = with(base, "PATH", path, "ANTHROPIC_BASE_URL", model.URL, "OPENAI_BASE_URL", model.URL+"/v1", "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"])
	return startWorker(t, with(base, changes...))
}

func (a assistant) request(text string, fields ...any) map[string]any {
	request := script(text, fields...)
	request["codingAssistantProvider"] = a.name
	request["codingAssistantAuthentication"] = map[string]any{"apiKey": modelKey}
	return request
}

// table gathers what the rows of a test came to.
type table struct {
	mu   sync.Mutex
	rows []string
}

func (t *table) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, fmt.Sprintf(format, args...))
}

const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// TestAssistants runs both real CLIs through everything that can happen to them, and looks at the event, the branch, the
// processes and the worker's exit. The table is printed with -v.
func TestAssistants(t *testing.T) {
	results := new(table)
	t.Cleanup(func() {
		t.Log("\nassistant | case | last event | pushed | processes left | exit\n" + strings.Join(results.rows, "\n"))
	})
	for _, a := range assistants {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			testAssistant(t, a, results)
		})
	}
}

func testAssistant(t *testing.T, a assistant, results *table) {
	t.Run("edit and resume elsewhere", func(t *testing.T) { testResume(t, a, results) })
	for _, end := range []struct {
		name, code string
		turns      []modeltest.Turn
		changes    []string
		pushed     bool
	}{
		{"bad key", "auth_error", []modeltest.Turn{{Status: 401, Times: modeltest.Always}}, nil, false},
		{"429", "rate_limited", []modeltest.Turn{{Status: 429, Times: modeltest.Always}}, nil, false},
		{"529", "rate_limited", []modeltest.Turn{{Status: 529, Times: modeltest.Always}}, nil, false},
		{"key refused halfway", "auth_error", []modeltest.Turn{a.edits(), {Status: 401, Times: modeltest.Always}}, nil, true},
		{"cut in the answer", "provider_error", []modeltest.Turn{a.edits(), {Text: "half of an answer", Cut: true, Times: modeltest.Always}}, nil, true},
		{"hang", "timeout", []modeltest.Turn{a.edits(), {Text: "half of an answer", Hang: true}}, []string{"IDLE_TIMEOUT", "10s"}, true},
		{"too long", "timeout", []modeltest.Turn{a.edits(), {Calls: []modeltest.Call{a.sleeps()}}, {Text: "I look at it again", Hang: true}}, []string{"JOB_TIMEOUT", "12s"}, true},
	} {
		t.Run(end.name, func(t *testing.T) {
			host, repoURL := startGit(t)
			p := a.worker(t, env(t), modeltest.StartTest(t, end.turns...), end.changes...)
			last := p.post(a.request("Write a file", "github", github(repoURL))).failed(end.code)
			exit, left := p.exited(), countProcesses(t, a.sleep)
			if pushed := last["pushed"] == true; pushed != end.pushed || exit != 0 || left != 0 {
				t.Errorf("pushed %t, exit status %d, %d processes left: %v", pushed, exit, left, last)
			}
			if end.pushed {
				if got := git(t, host.Dir("acme/site"), "show", last["branch"].(string)+":kept.txt"); got != "kept\n" {
					t.Errorf("kept.txt: %q", got)
				}
			}
			results.add("%s | %s | error %s | %v | %d | %d", a.name, end.name, last["code"], end.pushed, left, exit)
		})
	}
	t.Run("abort", func(t *testing.T) { testAbort(t, a, results) })
}

// edits is a turn that leaves work to be kept.
func (a assistant) edits() modeltest.Turn {
	return modeltest.Turn{Text: "I write.", Calls: []modeltest.Call{a.shell("echo kept > kept.txt")}}
}

func testResume(t *testing.T, a assistant, results *table) {
	base := minioEnv(t)
	host, repoURL := startGit(t)
	model := modeltest.StartTest(t,
		modeltest.Turn{Text: "I will write the file.", Calls: []modeltest.Call{a.shell("echo one > hello.txt")}},
		modeltest.Turn{Text: "The code word is marzipan."},
		modeltest.Turn{Text: "I remember.", Calls: []modeltest.Call{a.shell("cat hello.txt; echo two >> hello.txt")}},
		modeltest.Turn{Text: "Done again."},
	)
	request := a.request("", "github", github(repoURL), "websiteSessionId", "talk-"+a.name)
	request["userRequest"] = []any{
		map[string]any{"type": "text", "text": "Add a friendly greeting"},
		map[string]any{"type": "image", "source": map[string]any{"type": "base64", "media_type": "image/png", "data": pixel}},
	}
	first := a.worker(t, base, model)
	done := first.post(request).completed()
	if usage, ok := done["usage"].(map[string]any); !ok || usage["inputTokens"].(float64) <= 0 {
		t.Errorf("usage: %v", done["usage"])
	}
	if images := model.Requests()[0].Images(); len(images) != 1 {
		t.Errorf("the model saw %d images", len(images))
	}
	second := a.worker(t, base, model)
	done = second.post(a.request("And once more", "websiteSessionId", "talk-"+a.name,
		"github", map[string]any{"repoUrl": repoURL, "accessToken": gitToken})).completed()
	if got := git(t, host.Dir("acme/site"), "show", done["branch"].(string)+":hello.txt"); got != "one\ntwo\n" {
		t.Errorf("hello.txt after the resume: %q", got)
	}
	text := lastMessageRequest(t, model).Text()
	for _, want := range []string{"Add a friendly greeting", "The code word is marzipan", "And once more"} {
		if !strings.Contains(text, want) {
			t.Errorf("the resumed conversation lacks %q", want)
		}
	}
	results.add("%s | edit, image, commit, push, resume elsewhere | completed | %v | – | %d, %d", a.name, done["pushed"], first.exited(), second.exited())
}

func testAbort(t *testing.T, a assistant, results *table) {
	host, repoURL := startGit(t)
	model := modeltest.StartTest(t, a.edits(), modeltest.Turn{Calls: []modeltest.Call{a.sleeps()}})
	p := a.worker(t, env(t), model)
	s := p.post(a.request("Write a file", "github", github(repoURL), "websiteSessionId", "aborted"))
	waitFor(t, "the tool runs", func() bool { return countProcesses(t, a.sleep) > 0 })
	resp, err := http.Post(p.URL+"/abort", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	last := s.failed("aborted")
	exit, left := p.exited(), countProcesses(t, a.sleep)
	if got := git(t, host.Dir("acme/site"), "show", last["branch"].(string)+":kept.txt"); got != "kept\n" || exit != 0 || left != 0 {
		t.Errorf("kept.txt %q, exit status %d, %d processes left", got, exit, left)
	}
	results.add("%s | abort | error %s | %v | %d | %d", a.name, last["code"], last["pushed"], left, exit)
}
