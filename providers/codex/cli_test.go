package codex_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/tooltest"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/codex"
)

func TestAnswer(t *testing.T) {
	t.Parallel()
	s := newStage(t, modeltest.Turn{Text: "hello to you", Usage: modeltest.Usage{Input: 1000, Output: 50, CacheRead: 30}})
	s.task.Options.Model = "gpt-5.5"
	messages, result := s.mustRun(t)

	first, last := messages[0], messages[len(messages)-1]
	if first.Kind != providers.KindInit || last.Kind != providers.KindResult {
		t.Errorf("the messages begin with %s and end with %s", first.Raw, last.Raw)
	}
	if first.SessionID == "" || first.SessionID != result.SessionID || first.Model != "gpt-5.5" {
		t.Errorf("init says session %q and model %q, the result session %q", first.SessionID, first.Model, result.SessionID)
	}
	if result.Summary != "hello to you" || result.Usage.InputTokens != 1030 || result.Usage.OutputTokens != 50 {
		t.Errorf("result: %+v", result)
	}
	for _, m := range messages {
		var line struct{ Method string }
		if err := json.Unmarshal(m.Raw, &line); err != nil || line.Method == "" || strings.HasPrefix(line.Method, "account") {
			t.Errorf("message %.200s (%v)", m.Raw, err)
		}
		if bytes.Contains(m.Raw, []byte("please do it")) {
			t.Errorf("the prompt is in a message: %.200s", m.Raw)
		}
	}
	request := s.model.Requests()[0]
	if request.Model != "gpt-5.5" || !strings.Contains(request.Text(), "please do it") {
		t.Errorf("the model %s was asked %q", request.Model, request.Text())
	}
	if got := request.Header.Get("Authorization"); got != "Bearer "+apiKey {
		t.Errorf("the credential arrived as %q", got)
	}
}

func TestTools(t *testing.T) {
	t.Parallel()
	s := newStage(t, exec("pwd; echo by the shell > shell.txt; echo $HOME $TMPDIR; env"), modeltest.Turn{Text: "done"})
	messages, _ := s.mustRun(t)
	if got := s.shell(t, "cat checkout/shell.txt"); got != "by the shell\n" {
		t.Errorf("on disk: %s", got)
	}
	results := s.model.Requests()[1].Results()
	if len(results) != 1 || !strings.Contains(results[0], s.task.Dir+"\n"+s.task.Home+" "+s.task.Home+"/tmp\n") {
		t.Errorf("the tool's result: %q", results)
	}
	if strings.Contains(strings.Join(results, ""), "canary") {
		t.Errorf("a tool sees the credential: %s", results)
	}
	if !slices.ContainsFunc(messages, func(m providers.Message) bool { return m.ToolRuns }) || messages[len(messages)-1].ToolRuns {
		t.Error("it is not told that a tool runs, or not that it has ended")
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
	if len(images) != 1 || images[0].MediaType != "image/png" {
		t.Fatalf("the model saw %d images", len(images))
	}
	if _, err := png.Decode(bytes.NewReader(images[0].Data)); err != nil {
		t.Errorf("the model saw another picture: %v", err)
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
	if strings.Contains(archive.String(), "canary") {
		t.Error("the state holds the credential")
	}
	s.place(t, apiKey)
	untar := s.task.Agent.Command("tar", "-xf", "-", "-C", s.task.Home)
	untar.Stdin = strings.NewReader(archive.String())
	if err := untar.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestResumeElsewhere(t *testing.T) {
	t.Parallel()
	s := newStage(t, exec("echo a-result-of-the-first-run"), modeltest.Turn{Text: "first answer"}, modeltest.Turn{Text: "second answer"})
	s.task.Prompt = say("the first question")
	_, first := s.mustRun(t)
	s.move(t)
	s.task.ResumeID, s.task.Prompt = first.SessionID, say("the second question")
	messages, second := s.mustRun(t)
	begun := slices.IndexFunc(messages, func(m providers.Message) bool { return m.Kind == providers.KindInit })
	if second.SessionID != first.SessionID || messages[begun].SessionID != first.SessionID {
		t.Errorf("session %q became %q", first.SessionID, second.SessionID)
	}
	if second.Summary != "second answer" {
		t.Errorf("summary %q", second.Summary)
	}
	if got, want := second.Usage, (providers.Usage{InputTokens: 100, OutputTokens: 20}); got != want {
		t.Errorf("usage of the second run: %+v, want %+v", got, want)
	}
	asked := s.model.Requests()[2].Text()
	for _, want := range []string{"the first question", "a-result-of-the-first-run", "first answer", "the second question"} {
		if !strings.Contains(asked, want) {
			t.Errorf("the model was not told %q", want)
		}
	}
}

func TestUnknownConversation(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.task.ResumeID = "01a1fc00-9ff1-72d3-8bce-8f1c11e51a54"
	if _, _, err := s.run(t.Context(), nil); !errors.Is(err, providers.ErrSessionNotFound) {
		t.Errorf("Run: %v", err)
	}
}

// An interrupted run leaves a conversation that goes on, and no process.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := newStage(t, exec("(setsid sleep 3217 &); echo begun > begun; sleep 3217"), modeltest.Turn{Text: "it goes on"})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, result, err := s.run(ctx, func(m providers.Message) {
		if m.ToolRuns {
			cancel(cause)
		}
	})
	if !errors.Is(err, cause) {
		t.Fatalf("Run: %v", err)
	}
	if got := s.shell(t, "grep -la 321[7] /proc/[0-9]*/cmdline 2>/dev/null | wc -l"); got != "0\n" {
		t.Errorf("processes are left: %s", got)
	}
	s.task.ResumeID = result.SessionID
	if _, again := s.mustRun(t); again.Summary != "it goes on" {
		t.Errorf("summary %q", again.Summary)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		turn modeltest.Turn
		want error
	}{
		"bad key":             {modeltest.Turn{Status: http.StatusUnauthorized, Times: modeltest.Always}, providers.ErrAuth},
		"no access":           {modeltest.Turn{Status: http.StatusForbidden, Times: modeltest.Always}, providers.ErrAuth},
		"rate limit":          {modeltest.Turn{Status: http.StatusTooManyRequests, Times: modeltest.Always}, providers.ErrLimit},
		"overload":            {modeltest.Turn{Status: 529, Times: modeltest.Always}, providers.ErrLimit},
		"unavailable":         {modeltest.Turn{Status: http.StatusServiceUnavailable, Times: modeltest.Always}, providers.ErrLimit},
		"cut in the answer":   {modeltest.Turn{Text: "half of an answer", Cut: true, Times: modeltest.Always}, providers.ErrNetwork},
		"usage is used up":    {modeltest.Turn{StreamError: true, ErrorType: "rate_limit_exceeded", Times: modeltest.Always}, providers.ErrLimit},
		"context is too long": {modeltest.Turn{StreamError: true, ErrorType: "context_length_exceeded"}, providers.ErrContextTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, test.turn)
			messages, _, err := s.run(t.Context(), nil)
			if !errors.Is(err, test.want) {
				t.Errorf("Run: %v, want %v", err, test.want)
				for _, m := range messages {
					t.Logf("%.600s", m.Raw)
				}
			}
		})
	}
}

// A model that cannot be reached is waited for without end by Codex, and not by the worker.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	if err := s.model.Close(); err != nil {
		t.Fatal(err)
	}
	s.provider = codex.New(codex.Config{Path: tooltest.Path(t, "codex"), RetryLimit: 3 * time.Second})
	if _, _, err := s.run(t.Context(), nil); !errors.Is(err, providers.ErrNetwork) {
		t.Errorf("Run: %v", err)
	}
}
