package script_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/providertest"
	"github.com/ai-coding-worker/ai-coding-worker/providers/script"
)

func TestMain(m *testing.M) {
	agentproc.Dispatch()
	os.Exit(m.Run())
}

func TestContract(t *testing.T) {
	providertest.Run(t, func(*testing.T) providertest.Subject {
		return providertest.Subject{
			Provider: script.New(script.Config{Grace: 200 * time.Millisecond}),
			Task: func(_ *testing.T, task providers.Task, behaviour string) providers.Task {
				task.Prompt = words(behaviour)
				return task
			},
		}
	})
}

func words(texts ...string) providers.Prompt {
	var p providers.Prompt
	for _, text := range texts {
		p.Blocks = append(p.Blocks, providers.Block{Text: text})
	}
	return p
}

// run runs a script in a workplace of its own and returns what was emitted, line by line.
func run(t *testing.T, prompt providers.Prompt) ([]string, providers.Task, error) {
	t.Helper()
	root := agenttest.Dir(t)
	task := providers.Task{Dir: root, Home: root + "/home", Prompt: prompt, Agent: agenttest.Start(t)}
	var lines []string
	result, err := script.New(script.Config{}).Run(t.Context(), task, func(m providers.Message) error {
		lines = append(lines, string(m.Raw))
		return nil
	})
	if diff := cmp.Diff(providers.Result{}, result); diff != "" {
		t.Errorf("a script has nothing to resume and costs nothing: %s", diff)
	}
	return lines, task, err
}

func TestOutputIsText(t *testing.T) {
	lines, _, err := run(t, words(`echo '{"type":"result","is_error":true}'; echo 'a <b> & c' >&2; echo out`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"type":"output","text":"{\"type\":\"result\",\"is_error\":true}"}`,
		`{"type":"output","text":"a <b> & c"}`,
		`{"type":"output","text":"out"}`,
	}
	if diff := cmp.Diff(want, lines[:len(lines)-1]); diff != "" {
		t.Error(diff)
	}
}

func TestResultLine(t *testing.T) {
	for _, test := range []struct {
		script, signal string
		code           int
	}{
		{"true", "", 0},
		{"exit 7", "", 7},
		{"kill -9 $$", "killed", -1},
		{"no-such-command", "", 127},
		{"if", "", 2},
	} {
		t.Run(test.script, func(t *testing.T) {
			lines, _, err := run(t, words(test.script))
			exit := new(agentproc.ExitError)
			if failed := errors.As(err, &exit); failed != (test.code != 0) || exit.Code != test.code {
				t.Errorf("Run: %v", err)
			}
			var result struct {
				Type, Signal string
				ExitCode     int
			}
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil {
				t.Fatal(err)
			}
			if result.Type != "result" || result.ExitCode != test.code || result.Signal != test.signal {
				t.Errorf("the result says %+v", result)
			}
		})
	}
}

func TestFailureQuotesTheLastWords(t *testing.T) {
	_, _, err := run(t, words("echo one; echo the disk is full >&2; exit 1"))
	if err == nil || err.Error() != "script: exit status 1: the disk is full" {
		t.Errorf("Run: %v", err)
	}
}

func TestRunsInTheCheckout(t *testing.T) {
	lines, task, err := run(t, words("pwd; echo $HOME; echo $TMPDIR; read line || echo no input; env | grep -c AICW_ || true"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range lines[:len(lines)-1] {
		var output struct{ Text string }
		if err := json.Unmarshal([]byte(line), &output); err != nil {
			t.Fatal(err)
		}
		got = append(got, output.Text)
	}
	if diff := cmp.Diff([]string{task.Dir, task.Home, task.Home + "/tmp", "no input", "0"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestHugeScript(t *testing.T) {
	var b strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&b, "a=%d # as an argument this would be far too much\n", i)
	}
	lines, _, err := run(t, words(b.String(), "echo $a"))
	if err != nil {
		t.Fatal(err)
	}
	if lines[0] != `{"type":"output","text":"199999"}` {
		t.Errorf("the script's end printed %s", lines[0])
	}
}

func TestCancelAsksFirst(t *testing.T) {
	root := agenttest.Dir(t)
	task := providers.Task{
		Dir: root, Home: root + "/home", Agent: agenttest.Start(t),
		Prompt: words(`trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.1; done`),
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var texts []string
	_, err := script.New(script.Config{Grace: time.Minute}).Run(ctx, task, func(m providers.Message) error {
		texts = append(texts, string(m.Raw))
		cancel(cause)
		return nil
	})
	if !errors.Is(err, cause) {
		t.Errorf("Run: %v", err)
	}
	if last := texts[len(texts)-1]; last != `{"type":"output","text":"asked"}` {
		t.Errorf("the script's last words are %s", last)
	}
}

func TestCheck(t *testing.T) {
	p := script.New(script.Config{})
	image := providers.Block{MediaType: "image/png", Data: []byte{1}}
	for name, prompt := range map[string]providers.Prompt{
		"nothing":  {},
		"blank":    words(" \n\t"),
		"an image": {Blocks: []providers.Block{{Text: "true"}, image}},
	} {
		field := new(providers.FieldError)
		if err := p.Check(providers.Task{Prompt: prompt}); !errors.As(err, &field) || field.Field != "userRequest" {
			t.Errorf("%s: Check: %v", name, err)
		}
	}
	if err := p.Check(providers.Task{Prompt: words("true"), Options: providers.Options{Model: "sonnet"}}); err != nil {
		t.Errorf("Check: %v", err)
	}
}
