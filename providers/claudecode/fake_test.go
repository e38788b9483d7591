package claudecode_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/claudecode"
)

func TestResultDecides(t *testing.T) {
	for name, test := range map[string]struct {
		behaviour string
		want      error // nil: an error that is none of the known ones
		words     string
	}{
		"a good result and a bad exit status": {prints(fakeInit, fakeResult) + "exit 1", nil, ""},
		"a bad result and a good exit status": {
			prints(fakeInit, `{"type":"result","subtype":"success","is_error":true,"api_error_status":401,"result":"no"}`),
			providers.ErrAuth, "no",
		},
		"a refusal by name alone": {
			prints(fakeInit, `{"type":"assistant","error":"authentication_failed"}`, `{"type":"result","subtype":"success","is_error":true,"result":"Not logged in"}`),
			providers.ErrAuth, "Not logged in",
		},
		"an overload without a status": {
			prints(fakeInit, `{"type":"system","subtype":"api_retry","error_status":529}`, `{"type":"assistant","error":"server_error"}`,
				`{"type":"result","subtype":"success","is_error":true,"api_error_status":null,"result":"Repeated 529"}`),
			providers.ErrLimit, "Repeated 529",
		},
		"a nested agent's failure, and another of the run": {
			prints(fakeInit, `{"type":"assistant","error":"rate_limit","parent_tool_use_id":"toolu_1"}`, `{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["one","two"]}`),
			nil, "one; two",
		},
		"a failure without words":   {prints(fakeInit, `{"type":"result","is_error":true}`), nil, "without a word"},
		"members of other types":    {prints(fakeInit, `{"type":"result","subtype":7,"is_error":true,"result":{"a":1},"errors":"x"}`), nil, "without a word"},
		"a second result":           {prints(fakeInit, fakeResult, `{"type":"result","subtype":"success","is_error":true,"result":"late"}`), nil, ""},
		"no result":                 {prints(fakeInit), nil, "without a result"},
		"no result and a bad exit":  {takePrompt + "echo 'Session ID is in use' >&2; exit 1", nil, "Session ID is in use"},
		"no result, but killed":     {takePrompt + "kill -9 $$", nil, "signal: killed"},
		"a refused initialize":      {prints(`{"type":"control_response","response":{"subtype":"error","request_id":"initialize","error":"too old"}}`) + "sleep 3600", nil, "too old"},
		"it hangs after its result": {prints(fakeInit, fakeResult) + "trap '' TERM; sleep 3600", nil, ""},
		"it reads nothing at all":   {"echo '" + fakeResult + "'; sleep 3600", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFakeStage(t, test.behaviour)
			s.task.Prompt = say(strings.Repeat("more than a pipe holds ", 100_000))
			if strings.Contains(test.behaviour, takePrompt) {
				s.task.Prompt = say("short")
			}
			_, _, err := s.run(t.Context(), nil)
			if (err != nil) != (test.words != "") || err != nil && !strings.Contains(err.Error(), test.words) {
				t.Fatalf("Run: %v, want %q", err, test.words)
			}
			if !sameCause(err, test.want) {
				t.Errorf("Run: %v, want %v", err, test.want)
			}
		})
	}
}

func TestLimitEnds(t *testing.T) {
	for name, test := range map[string]struct {
		line string
		want time.Duration
	}{
		"a subscription's": {`{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1782908100}}`, 15 * time.Minute},
		"one that is over": {`{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1782900000}}`, 0},
		"only a warning":   {`{"type":"rate_limit_event","rate_limit_info":{"status":"allowed_warning","resetsAt":1782908100}}`, 0},
		"the last pause":   {`{"type":"system","subtype":"api_retry","error_status":429,"retry_delay_ms":41234.5}`, 41 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStage(t, prints(fakeInit, test.line, `{"type":"assistant","error":"rate_limit"}`, `{"type":"result","subtype":"success","is_error":true,"result":"later"}`))
			_, _, err := s.run(t.Context(), nil)
			limit := new(providers.LimitError)
			if !errors.As(err, &limit) || limit.RetryAfter != test.want || limit.Reason != "later" {
				t.Errorf("Run: %#v, want %v", err, test.want)
			}
		})
	}
}

func TestNobodyIsAsked(t *testing.T) {
	for mode, want := range map[string]string{
		"":            `{"behavior":"allow","updatedInput":{"command":"date"}}`,
		"acceptEdits": `{"behavior":"deny","message":"The permission mode acceptEdits does not allow this, and nobody is here to be asked."}`,
	} {
		s := newFakeStage(t, prints(`{"type":"control_request","request_id":"q1","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"date"}}}`)+`
			read -r answer; echo "{\"first\":$answer}"
			echo '{"type":"control_request","request_id":"q2","request":{"subtype":"elicitation"}}'
			read -r answer; echo "{\"second\":$answer}"
			echo '{"type":"keep_alive"}'
			echo '`+fakeResult+`'`)
		s.task.Options.PermissionMode = mode
		messages, _ := s.mustRun(t)
		var got []string
		for _, m := range messages {
			got = append(got, string(m.Raw))
		}
		if diff := cmp.Diff([]string{
			`{"first":{"type":"control_response","response":{"request_id":"q1","response":` + want + `,"subtype":"success"}}}`,
			`{"second":{"type":"control_response","response":{"error":"nobody is here to answer \"elicitation\"","request_id":"q2","subtype":"error"}}}`,
			fakeResult,
		}, got); diff != "" {
			t.Errorf("mode %q: %s", mode, diff)
		}
	}
}

func TestInterruptIsAskedFor(t *testing.T) {
	s := newFakeStage(t, prints(fakeInit)+`
		read -r request; echo "{\"seen\":$request}"
		echo '{"type":"result","subtype":"error_during_execution","is_error":true,"usage":{"input_tokens":3},"total_cost_usd":0.5}'`)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	messages, result, err := s.run(ctx, func(m providers.Message) {
		if m.Kind == providers.KindInit {
			cancel(cause)
		}
	})
	if !errors.Is(err, cause) {
		t.Errorf("Run: %v", err)
	}
	if got := string(messages[1].Raw); got != `{"seen":{"type":"control_request","request_id":"interrupt","request":{"subtype":"interrupt"}}}` {
		t.Errorf("the CLI was told %s", got)
	}
	if want := (providers.Usage{InputTokens: 3, CostUSD: 0.5}); result.Usage != want {
		t.Errorf("the cancelled run cost %+v, want %+v", result.Usage, want)
	}
}

func TestNotInstalled(t *testing.T) {
	s := newFakeStage(t, "")
	s.provider = claudecode.New(claudecode.Config{Path: "/nowhere/claude"})
	if _, _, err := s.run(t.Context(), nil); !errors.Is(err, providers.ErrNotInstalled) {
		t.Errorf("Run: %v", err)
	}
	s.provider = fakeProvider(t)
	s.task.Dir = s.root + "/nowhere"
	if _, _, err := s.run(t.Context(), nil); err == nil || errors.Is(err, providers.ErrNotInstalled) {
		t.Errorf("without a checkout: %v", err)
	}
}

func TestArguments(t *testing.T) {
	no := false
	for name, test := range map[string]struct {
		options providers.Options
		want    []string
	}{
		"by default":      {providers.Options{}, []string{"--permission-mode bypassPermissions"}},
		"asking":          {providers.Options{SkipPermissions: &no}, []string{"--permission-mode acceptEdits"}},
		"a mode":          {providers.Options{SkipPermissions: &no, PermissionMode: "plan"}, []string{"--permission-mode plan"}},
		"model and turns": {providers.Options{Model: "opus[1m]", MaxTurns: 12}, []string{"--model opus[1m]", "--max-turns 12", "--setting-sources user --strict-mcp-config"}},
	} {
		s := newFakeStage(t, "")
		s.write(t, "home/behaviour", takePrompt+"tr '\\0' ' ' </proc/$$/cmdline >\"$HOME/args\"; echo '"+fakeResult+"'")
		s.task.Options = test.options
		s.mustRun(t)
		args := s.shell(t, "cat home/args")
		for _, want := range test.want {
			if !strings.Contains(args, want) {
				t.Errorf("%s: the arguments %s lack %s", name, args, want)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	p := claudecode.New(claudecode.Config{Path: "/nowhere/claude"})
	good := providers.Task{Prompt: say("go on"), Credential: key(apiKey)}
	if err := p.Check(good); err != nil {
		t.Errorf("Check: %v", err)
	}
	for field, spoil := range map[string]func(*providers.Task){
		"userRequest": func(t *providers.Task) {
			t.Prompt = providers.Prompt{Blocks: []providers.Block{{MediaType: "image/png", Data: []byte{1}}}}
		},
		"codingAssistantAuthentication":  func(t *providers.Task) { t.Credential = key(`{"apiKey":7}`) },
		"providerOptions.model":          func(t *providers.Task) { t.Options.Model = "--dangerous" },
		"providerOptions.permissionMode": func(t *providers.Task) { t.Options.PermissionMode = "yolo" },
		"providerOptions.maxTurns":       func(t *providers.Task) { t.Options.MaxTurns = -1 },
	} {
		task := good
		spoil(&task)
		got := new(providers.FieldError)
		if err := p.Check(task); !errors.As(err, &got) || got.Field != field {
			t.Errorf("Check: %v, want an error of %s", err, field)
		}
	}
	task := good
	task.ResumeID = "../../etc/passwd"
	if err := p.Check(task); !errors.Is(err, providers.ErrSessionNotFound) {
		t.Errorf("Check: %v", err)
	}
}

func TestExitErrorIsKept(t *testing.T) {
	s := newFakeStage(t, takePrompt+"echo 'one\ntwo' >&2; exit 42")
	_, _, err := s.run(t.Context(), nil)
	exit := new(agentproc.ExitError)
	if !errors.As(err, &exit) || exit.Code != 42 || exit.Stderr != "one\ntwo\n" {
		t.Errorf("Run: %#v", err)
	}
}
