package codex_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/internal/tooltest"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/codex"
	"github.com/ai-coding-worker/ai-coding-worker/providers/providertest"
)

func TestMain(m *testing.M) {
	agentproc.Dispatch()
	os.Exit(m.Run())
}

const apiKey = "sk-proj-canary-7c1e5a90b2d84f63"

// stage is a workplace with the real CLI before a scripted model, or with a fake CLI.
type stage struct {
	provider *codex.Provider
	model    *modeltest.Endpoint
	root     string
	task     providers.Task
}

// newStage sets up the real CLI and a model that answers with turns.
func newStage(t *testing.T, turns ...modeltest.Turn) *stage {
	t.Helper()
	s := &stage{
		provider: codex.New(codex.Config{Path: tooltest.Path(t, "codex")}),
		model:    modeltest.StartTest(t, turns...),
	}
	s.place(t, apiKey)
	s.task.BaseURL = s.model.URL + "/v1"
	return s
}

// place makes a new workplace on an empty disk, with an agent of its own.
func (s *stage) place(t *testing.T, credential string) {
	t.Helper()
	s.root = agenttest.Dir(t)
	s.task.Dir, s.task.Home = s.root+"/checkout", s.root+"/home"
	s.task.Credential = secret.New(credential)
	s.task.Agent = agenttest.Start(t, s.provider.Secrets(s.task.Credential)...)
	if len(s.task.Prompt.Blocks) == 0 {
		s.task.Prompt = say("please do it")
	}
	s.shell(t, "mkdir -p checkout home")
}

func say(text string) providers.Prompt {
	return providers.Prompt{Blocks: []providers.Block{{Text: text}}}
}

// exec is a turn that calls the shell.
func exec(command string) modeltest.Turn {
	return modeltest.Turn{Calls: []modeltest.Call{modeltest.Exec(command)}}
}

// shell runs a script as the agent in the stage's root and returns what it prints.
func (s *stage) shell(t *testing.T, script string, args ...string) string {
	t.Helper()
	cmd := s.task.Agent.Command("/bin/sh", append([]string{"-ec", script, "sh"}, args...)...)
	cmd.Dir = s.root
	out, err := cmd.Output(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return string(out)
}

// write makes a file below the stage's root, as the agent.
func (s *stage) write(t *testing.T, name, content string) {
	t.Helper()
	s.shell(t, `mkdir -p "$(dirname "$1")"`, name)
	if err := s.task.Agent.WriteFile(t.Context(), s.root+"/"+name, 0o755, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

// run runs the task; observe, if any, sees the messages as they come.
func (s *stage) run(ctx context.Context, observe func(providers.Message)) ([]providers.Message, providers.Result, error) {
	var messages []providers.Message
	result, err := s.provider.Run(ctx, s.task, func(m providers.Message) error {
		messages = append(messages, m)
		if observe != nil {
			observe(m)
		}
		return nil
	})
	return messages, result, err
}

// mustRun is run for tests in which nothing should go wrong.
func (s *stage) mustRun(t *testing.T) ([]providers.Message, providers.Result) {
	t.Helper()
	messages, result, err := s.run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return messages, result
}

// fakeCLI does what a file in its home says.
const fakeCLI = `#!/bin/sh
. "$HOME/behaviour"
`

const (
	fakeThread = "0d5f1c8e-6f0e-4c59-a1f6-8a6f3f6f9a11"
	takePrompt = "read -r initialize; read -r initialized; read -r login\n" +
		`echo '{"id":2,"result":{"type":"apiKey"}}'` + "\nread -r thread\n" +
		`echo '{"id":3,"result":{"model":"fake","thread":{"id":"` + fakeThread + `"}}}'` + "\nread -r turn\n"
	fakeInit   = `{"method":"turn/started","params":{"threadId":"` + fakeThread + `","turn":{"id":"turn-1"}}}`
	fakeResult = `{"method":"turn/completed","params":{"threadId":"` + fakeThread + `","turn":{"id":"turn-1","status":"completed"}}}`
)

// newFakeStage sets up a fake CLI that behaves like a shell script.
func newFakeStage(t *testing.T, behaviour string) *stage {
	t.Helper()
	s := &stage{provider: fakeProvider(t)}
	s.place(t, apiKey)
	s.write(t, "home/behaviour", behaviour)
	return s
}

// prints is a behaviour: the lines, after the prompt was taken.
func prints(lines ...string) string {
	return takePrompt + "cat <<'END'\n" + strings.Join(lines, "\n") + "\nEND\n"
}

func fakePath(t *testing.T) string {
	t.Helper()
	path := agenttest.Dir(t) + "/codex"
	if err := agenttest.Start(t).WriteFile(t.Context(), path, 0o755, strings.NewReader(fakeCLI)); err != nil {
		t.Fatal(err)
	}
	return path
}

func fakeProvider(t *testing.T) *codex.Provider {
	t.Helper()
	return codex.New(codex.Config{
		Path: fakePath(t), InterruptGrace: 200 * time.Millisecond, ExitGrace: 200 * time.Millisecond, RetryLimit: 300 * time.Millisecond,
	})
}

func TestContract(t *testing.T) {
	providertest.Run(t, func(t *testing.T) providertest.Subject {
		return providertest.Subject{
			Provider: fakeProvider(t),
			Task: func(t *testing.T, task providers.Task, behaviour string) providers.Task {
				task.Prompt, task.Credential = say("go on"), secret.New(apiKey)
				script := prints(fakeInit) + behaviour + "\n" + "echo '" + fakeResult + "'\n"
				if err := task.Agent.WriteFile(t.Context(), task.Home+"/behaviour", 0o600, strings.NewReader(script)); err != nil {
					t.Fatal(err)
				}
				return task
			},
		}
	})
}
