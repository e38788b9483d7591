package codex_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/codex"
)

// The thread and the turn of an agent that the assistant has started.
const (
	agentThread = "7f0c9a52-1df1-4a5a-9c0b-0d5c2f6a8e22"
	agentInit   = `{"method":"turn/started","params":{"threadId":"` + agentThread + `","turn":{"id":"turn-a"}}}`
	agentTool   = `{"method":"item/started","params":{"threadId":"` + agentThread + `","turnId":"turn-a","item":{"type":"commandExecution","id":"tool-a"}}}`
	agentWords  = `{"method":"item/completed","params":{"threadId":"` + agentThread + `","turnId":"turn-a","item":{"type":"agentMessage","id":"words-a","text":"by the agent"}}}`
	agentEnd    = `{"method":"turn/completed","params":{"threadId":"` + agentThread + `","turn":{"id":"turn-a","status":"interrupted"}}}`
	fakeWords   = `{"method":"item/completed","params":{"threadId":"` + fakeThread + `","turnId":"turn-1","item":{"type":"agentMessage","id":"words","text":"by the assistant"}}}`
)

// spent is the line that tells a thread's usage: of all its turns, and of the last answer.
func spent(thread, turn string, input, output, lastInput, lastOutput int) string {
	return fmt.Sprintf(`{"method":"thread/tokenUsage/updated","params":{"threadId":%q,"turnId":%q,"tokenUsage":{`+
		`"total":{"inputTokens":%d,"outputTokens":%d},"last":{"inputTokens":%d,"outputTokens":%d}}}}`,
		thread, turn, input, output, lastInput, lastOutput)
}

// What an agent of the assistant does is told and paid for, and is not taken for what the assistant does.
func TestAgentOfTheAssistant(t *testing.T) {
	s := newFakeStage(t, prints(
		fakeInit, spent(fakeThread, "turn-1", 100, 20, 100, 20),
		agentInit, agentTool, spent(agentThread, "turn-a", 560, 65, 60, 5), spent(agentThread, "turn-a", 570, 66, 10, 1),
		fakeWords, agentWords, agentEnd, // its tool was never heard of again
		spent(fakeThread, "turn-1", 250, 50, 150, 30), fakeResult,
	))
	messages, result := s.mustRun(t)
	want := providers.Result{
		SessionID: fakeThread, Summary: "by the assistant", Usage: providers.Usage{InputTokens: 250 + 70, OutputTokens: 50 + 6},
	}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	var kinds []providers.Kind
	var runs []bool
	for _, m := range messages {
		if m.Kind == providers.KindInit && m.SessionID != fakeThread {
			t.Errorf("a session of its own: %s", m.Raw)
		}
		kinds, runs = append(kinds, m.Kind), append(runs, m.ToolRuns)
	}
	if diff := cmp.Diff([]providers.Kind{providers.KindInit, 0, 0, 0, 0, 0, 0, 0, 0, 0, providers.KindResult}, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]bool{false, false, false, true, true, true, true, true, false, false, false}, runs); diff != "" {
		t.Errorf("messages while a tool runs (-want +got):\n%s", diff)
	}
}

// A run that is cut short while an agent works interrupts the assistant's turn, and not the agent's.
func TestInterruptedWhileAnAgentWorks(t *testing.T) {
	interrupted := strings.Replace(fakeResult, `"completed"`, `"interrupted"`, 1)
	s := newFakeStage(t, prints(fakeInit, agentInit, agentTool)+
		`read -r asked; echo "$asked" > "$HOME/asked"; echo '`+interrupted+"'; cat > /dev/null\n")
	s.provider = codex.New(codex.Config{Path: fakePath(t), InterruptGrace: time.Minute})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, _, err := s.run(ctx, func(m providers.Message) {
		if m.ToolRuns {
			cancel(cause)
		}
	})
	if !errors.Is(err, cause) {
		t.Errorf("Run: %v", err)
	}
	if got := s.shell(t, "cat home/asked"); !strings.Contains(got, `"threadId":"`+fakeThread+`","turnId":"turn-1"`) {
		t.Errorf("it was asked %s", got)
	}
}

// An agent that cannot reach its model is the assistant's affair; the run is given up when the assistant itself cannot.
func TestUnreachableForAnAgent(t *testing.T) {
	trouble := func(thread string) string {
		return fmt.Sprintf(`{"method":"error","params":{"threadId":%q,"turnId":"t","willRetry":true,"error":{"message":"Reconnecting"}}}`, thread)
	}
	const late = "sleep 1; echo '" + fakeResult + "'\n" // longer than the limit
	s := newFakeStage(t, prints(fakeInit, agentInit, trouble(agentThread))+late)
	s.mustRun(t)
	s = newFakeStage(t, prints(fakeInit, trouble(fakeThread))+late)
	if _, _, err := s.run(t.Context(), nil); !errors.Is(err, providers.ErrNetwork) {
		t.Errorf("Run: %v", err)
	}
}

// The real CLI starts an agent and waits for it.
func TestRealAgent(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	collaborate := func(tool string, input map[string]any) modeltest.Turn {
		return modeltest.Turn{Calls: []modeltest.Call{{Space: "collaboration", Name: tool, Input: input}}}
	}
	s.model.Answer(func(r modeltest.Request) modeltest.Turn {
		switch results := len(r.Results()); {
		case r.Header.Get("X-Codex-Parent-Thread-Id") != "":
			return modeltest.Turn{Text: "by the agent", Usage: modeltest.Usage{Input: 1000, Output: 100}}
		case results == 0:
			return collaborate("spawn_agent", map[string]any{"task_name": "helper", "message": "look around"})
		case results == 1:
			return collaborate("wait_agent", map[string]any{"timeout_ms": 60_000})
		default:
			return modeltest.Turn{Text: "by the assistant"}
		}
	})
	messages, result := s.mustRun(t)
	inits, heard := 0, false
	for _, m := range messages {
		heard = heard || strings.Contains(string(m.Raw), "by the agent")
		if m.Kind == providers.KindInit {
			inits++
		}
	}
	want := providers.Result{
		SessionID: result.SessionID, Summary: "by the assistant", Usage: providers.Usage{InputTokens: 3*100 + 1000, OutputTokens: 3*20 + 100},
	}
	if diff := cmp.Diff(want, result); diff != "" || inits != 1 || !heard {
		t.Errorf("%d sessions have begun, the agent is heard: %t; result (-want +got):\n%s", inits, heard, diff)
		for _, m := range messages {
			t.Logf("%.300s", m.Raw)
		}
	}
}
