package claudecode_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// bash is a turn that calls the shell, for tests that go on from what it printed.
func bash(command string) modeltest.Turn {
	return modeltest.Turn{Calls: []modeltest.Call{modeltest.Bash(command)}}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	s := newStage(t, modeltest.Turn{Text: "hello to you", Usage: modeltest.Usage{Input: 1000, Output: 50, CacheRead: 30}})
	s.task.Options.Model = "claude-sonnet-4-5"
	messages, result := s.mustRun(t)

	if kinds := kindsOf(messages); kinds[0] != providers.KindInit || kinds[len(kinds)-1] != providers.KindResult {
		t.Errorf("kinds of messages: %v", kinds)
	}
	if first := messages[0]; first.SessionID == "" || first.SessionID != result.SessionID || first.Model != "claude-sonnet-4-5" {
		t.Errorf("init says session %q and model %q, the result session %q", first.SessionID, first.Model, result.SessionID)
	}
	for _, m := range messages {
		var line struct{ Type string }
		if err := json.Unmarshal(m.Raw, &line); err != nil || strings.HasPrefix(line.Type, "control") {
			t.Errorf("message %.100s (%v)", m.Raw, err)
		}
	}
	if result.Summary != "hello to you" || result.Usage.InputTokens != 1030 || result.Usage.OutputTokens != 50 || result.Usage.CostUSD <= 0 {
		t.Errorf("result: %+v", result)
	}
	request := s.model.Requests()[0]
	if request.Model != "claude-sonnet-4-5" || !strings.Contains(request.Text(), "please do it") {
		t.Errorf("the model %s was asked %q", request.Model, request.Text())
	}
}

func kindsOf(messages []providers.Message) []providers.Kind {
	var kinds []providers.Kind
	for _, m := range messages {
		kinds = append(kinds, m.Kind)
	}
	return kinds
}

func TestTools(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.model.Add(
		modeltest.Turn{Text: "I write.", Calls: []modeltest.Call{modeltest.Write(s.task.Dir+"/written.txt", "by the tool\n")}},
		bash("pwd; echo by the shell > shell.txt; echo $HOME $TMPDIR"),
		modeltest.Turn{Text: "done"},
	)
	messages, _ := s.mustRun(t)

	if got := s.shell(t, "cat checkout/written.txt checkout/shell.txt; ls -A . checkout"); got !=
		"by the tool\nby the shell\n.:\ncheckout\nhome\n\ncheckout:\nshell.txt\nwritten.txt\n" {
		t.Errorf("on disk: %s", got)
	}
	results := s.model.Requests()[2].Results()
	if want := fmt.Sprintf("%s\n%s %s/tmp", s.task.Dir, s.task.Home, s.task.Home); len(results) != 2 || results[1] != want {
		t.Errorf("the tools' results: %q", results)
	}
	if !slices.ContainsFunc(messages, func(m providers.Message) bool { return bytes.Contains(m.Raw, []byte("I write.")) }) {
		t.Error("the words before a tool are not in the messages")
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 16, 16))); err != nil {
		t.Fatal(err)
	}
	s := newStage(t, modeltest.Turn{Text: "grey"})
	s.task.Prompt = providers.Prompt{Blocks: []providers.Block{
		{Text: "what is in this picture?"}, {MediaType: "image/png", Data: picture.Bytes()}, {Text: "be brief"},
	}}
	s.mustRun(t)
	images := s.model.Requests()[0].Images()
	if len(images) != 1 || images[0].MediaType != "image/png" || !bytes.Equal(images[0].Data, picture.Bytes()) {
		t.Errorf("the model saw %d images", len(images))
	}
	if text := s.model.Requests()[0].Text(); !strings.Contains(text, "what is in this picture?") || !strings.Contains(text, "be brief") {
		t.Errorf("the model was asked %q", text)
	}
}

// move takes the saved state alone to a new place, as another worker does.
func (s *stage) move(t *testing.T) {
	t.Helper()
	var archive strings.Builder
	tar := s.task.Agent.Command("tar", append([]string{"-cf", "-", "-C", s.task.Home}, s.provider.Info().State...)...)
	tar.Stdout = &archive
	if err := tar.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.place(t, apiKey)
	s.task.Dir = s.root + "/elsewhere/repo"
	s.shell(t, `mkdir -p "$1"`, s.task.Dir)
	untar := s.task.Agent.Command("tar", "-xf", "-", "-C", s.task.Home)
	untar.Stdin = strings.NewReader(archive.String())
	if err := untar.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestResumeElsewhere(t *testing.T) {
	t.Parallel()
	s := newStage(t, bash("echo the shell spoke"), modeltest.Turn{Text: "first answer"}, modeltest.Turn{Text: "second answer"}, bash("pwd"), modeltest.Turn{Text: "third answer"})
	s.task.Prompt = say("first question")
	_, first := s.mustRun(t)

	s.move(t)
	s.task.Prompt, s.task.ResumeID = say("second question"), first.SessionID
	messages, second := s.mustRun(t)
	if second.SessionID != first.SessionID || messages[0].SessionID != first.SessionID {
		t.Errorf("the session was %s and is %s", first.SessionID, second.SessionID)
	}
	if second.Usage.InputTokens != modeltest.DefaultUsage.Input || math.Abs(first.Usage.CostUSD-2*second.Usage.CostUSD) > 1e-9 {
		t.Errorf("the first run of two requests used %+v, the second of one %+v", first.Usage, second.Usage)
	}

	s.move(t)
	s.task.Prompt = say("third question")
	s.mustRun(t)
	requests := s.model.Requests()
	last := requests[len(requests)-1]
	for _, earlier := range []string{"first question", "the shell spoke", "first answer", "second question", "second answer", "third question"} {
		if !strings.Contains(last.Text(), earlier) {
			t.Errorf("the model did not see %q again", earlier)
		}
	}
	if results := last.Results(); results[len(results)-1] != s.task.Dir {
		t.Errorf("the shell runs in %q, not in %s", results, s.task.Dir)
	}
}

func TestResumeWithoutConversation(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.task.ResumeID = "0b1e7a52-3b0e-4a43-8d0c-6d1c7a5b0f6e"
	if _, _, err := s.run(t.Context(), nil); !errors.Is(err, providers.ErrSessionNotFound) {
		t.Errorf("without a file: %v", err)
	}
	s.write(t, "home/.claude/projects/-x/"+s.task.ResumeID+".jsonl", "this is no conversation\n")
	if _, _, err := s.run(t.Context(), nil); !errors.Is(err, providers.ErrSessionNotFound) {
		t.Errorf("with a broken file: %v", err)
	}
	if n := len(s.model.Requests()); n > 0 {
		t.Errorf("the model was asked %d times", n)
	}
}

func TestSavedStateIsSmall(t *testing.T) {
	t.Parallel()
	s := newStage(t, modeltest.Turn{Text: "done"})
	_, result := s.mustRun(t)
	files := strings.Fields(s.shell(t, `cd home/.claude/projects && find . -type f`))
	if len(files) != 1 || !strings.HasSuffix(files[0], "/"+result.SessionID+".jsonl") {
		t.Errorf("saved are %q", files)
	}
}

func TestInterruptTool(t *testing.T) {
	t.Parallel()
	s := newStage(t,
		modeltest.Turn{Text: "I wait now.", Calls: []modeltest.Call{modeltest.Bash("setsid sleep 3601.77 & touch $HOME/begun; sleep 3601.77")}},
		modeltest.Turn{Text: "going on"},
	)
	cause := errors.New("the user changed their mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		look := time.NewTicker(50 * time.Millisecond)
		defer look.Stop()
		for range look.C {
			if _, err := s.task.Agent.ReadFile(ctx, s.task.Home+"/begun", 1); err == nil || ctx.Err() != nil {
				cancel(cause)
				return
			}
		}
	}()
	s.task.Prompt = say("wait for me")
	messages, result, err := s.run(ctx, nil)
	if !errors.Is(err, cause) {
		t.Fatalf("Run: %v", err)
	}
	if last := messages[len(messages)-1]; last.Kind != providers.KindResult {
		t.Errorf("the CLI was not let end its turn: %.300s", last.Raw)
	}
	if left := s.shell(t, `grep -lz '^3601.77$' /proc/[0-9]*/cmdline 2>/dev/null || true`); left != "" {
		t.Errorf("processes are left: %s", left)
	}
	s.task.ResumeID, s.task.Prompt = result.SessionID, say("go on")
	s.mustRun(t)
	requests := s.model.Requests()
	if text := requests[len(requests)-1].Text(); !strings.Contains(text, "wait for me") || !strings.Contains(text, "I wait now.") {
		t.Errorf("after the interruption the model saw %q", text)
	}
}

func TestInterruptModel(t *testing.T) {
	t.Parallel()
	s := newStage(t, modeltest.Turn{Text: "half of this", Hang: true})
	cause := errors.New("too slow")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		if s.model.Wait(ctx, 1) == nil {
			cancel(cause)
		}
	}()
	messages, _, err := s.run(ctx, nil)
	if !errors.Is(err, cause) || len(messages) == 0 {
		t.Errorf("Run: %v after %d messages", err, len(messages))
	}
}

// Whatever session a message has told of can be resumed, however soon the run ended after it.
func TestInterruptAtOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t, modeltest.Turn{Text: "half of this", Hang: true})
	cause := errors.New("never mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, result, err := s.run(ctx, func(m providers.Message) {
		if m.Kind == providers.KindInit {
			cancel(cause)
		}
	})
	if !errors.Is(err, cause) || result.SessionID == "" {
		t.Fatalf("Run: %+v, %v", result, err)
	}
	s.model.Answer(func(modeltest.Request) modeltest.Turn { return modeltest.Turn{Text: "here"} })
	s.task.ResumeID = result.SessionID
	if _, again := s.mustRun(t); again.Summary != "here" {
		t.Errorf("the resumed run ended with %q", again.Summary)
	}
}

func TestPermissionMode(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	turns := []modeltest.Turn{
		{Calls: []modeltest.Call{modeltest.Write(s.task.Dir+"/a.txt", "a"), modeltest.Bash("curl http://127.0.0.1:1/ || touch ran")}},
		{Text: "done"},
	}
	s.model.Add(turns...)
	ask := false
	s.task.Options.SkipPermissions = &ask
	s.mustRun(t)
	if got := s.shell(t, "ls checkout"); got != "a.txt\n" {
		t.Errorf("without skipPermissions there is %q", got)
	}
	s.model.Add(turns...)
	s.task.Options = providers.Options{}
	s.mustRun(t)
	if got := s.shell(t, "ls checkout"); got != "a.txt\nran\n" {
		t.Errorf("by default there is %q", got)
	}
}

func TestInstructions(t *testing.T) {
	t.Parallel()
	s := newStage(t, modeltest.Turn{Text: "done"}, modeltest.Turn{Text: "done"})
	s.write(t, "checkout/CLAUDE.md", "Always speak of canaries.")
	s.write(t, "checkout/.claude/CLAUDE.md", "And of \"parrots\".")
	s.mustRun(t)
	s.write(t, "checkout/CLAUDE.md", strings.Repeat("far too long ", 100_000))
	s.shell(t, "rm checkout/.claude/CLAUDE.md && mkfifo checkout/.claude/CLAUDE.md")
	s.mustRun(t)

	requests := s.model.Requests()
	if system := requests[0].System; !strings.Contains(system, "Always speak of canaries.") || !strings.Contains(system, `And of "parrots".`) {
		t.Errorf("the system prompt lacks the project's instructions: %s", system)
	}
	second := requests[1].System
	for _, name := range []string{"CLAUDE.md", ".claude/CLAUDE.md"} {
		if !strings.Contains(second, "instructions in "+name+",") || strings.Contains(second, "far too long") {
			t.Errorf("the system prompt does not say that %s cannot be given: %s", name, second)
		}
	}
}

func TestMaxTurns(t *testing.T) {
	t.Parallel()
	s := newStage(t, bash("true"), bash("true"), modeltest.Turn{Text: "done"})
	s.task.Options.MaxTurns = 2
	_, result, err := s.run(t.Context(), nil)
	if !errors.Is(err, providers.ErrMaxTurns) {
		t.Errorf("Run: %v", err)
	}
	want := providers.Usage{InputTokens: 2 * modeltest.DefaultUsage.Input, OutputTokens: 2 * modeltest.DefaultUsage.Output, CostUSD: result.Usage.CostUSD}
	if diff := cmp.Diff(want, result.Usage); diff != "" || result.Usage.CostUSD <= 0 {
		t.Errorf("usage beside the error: %s", diff)
	}
}

// What the agents of the assistant use is a part of what the run used, in tokens as in money.
func TestAgentOfTheAssistant(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.model.Answer(func(r modeltest.Request) modeltest.Turn {
		switch {
		case strings.Contains(r.Text(), "look around"):
			return modeltest.Turn{Text: "by the agent", Usage: modeltest.Usage{Input: 1000, Output: 100, CacheRead: 7}}
		case len(r.Results()) == 0:
			return modeltest.Turn{Calls: []modeltest.Call{{Name: "Task", Input: map[string]any{
				"description": "helper", "prompt": "look around", "subagent_type": "general-purpose", "run_in_background": false,
			}}}}
		default:
			return modeltest.Turn{Text: "by the assistant"}
		}
	})
	_, result := s.mustRun(t)
	want := providers.Result{
		SessionID: result.SessionID, Summary: "by the assistant",
		Usage: providers.Usage{InputTokens: 2*100 + 1007, OutputTokens: 2*20 + 100, CostUSD: result.Usage.CostUSD},
	}
	if diff := cmp.Diff(want, result); diff != "" || len(s.model.Requests()) != 3 {
		t.Errorf("%d requests; result (-want +got):\n%s", len(s.model.Requests()), diff)
	}
}
