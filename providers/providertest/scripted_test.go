package providertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/providertest"
)

func TestMain(m *testing.M) {
	agentproc.Dispatch()
	os.Exit(m.Run())
}

func TestScripted(t *testing.T) {
	failure := errors.New("as scripted")
	p := &providertest.Scripted{
		Messages: []providers.Message{{Kind: providers.KindInit, SessionID: "s", Raw: json.RawMessage(`{"n":1}`)}, {Raw: json.RawMessage(`{"n":2}`)}},
		Edit:     providertest.Shell("echo hello > made.txt"),
		Result:   providers.Result{SessionID: "s"},
		Err:      failure,
	}
	task := providers.Task{Dir: agenttest.Dir(t), ResumeID: "earlier", Agent: agenttest.Start(t)}
	var lines []string
	result, err := p.Run(t.Context(), task, func(m providers.Message) error {
		lines = append(lines, string(m.Raw))
		return nil
	})
	if !errors.Is(err, failure) || result.SessionID != "s" {
		t.Errorf("Run: %+v, %v", result, err)
	}
	if diff := cmp.Diff([]string{`{"n":1}`, `{"n":2}`}, lines); diff != "" {
		t.Error(diff)
	}
	made, err := task.Agent.ReadFile(t.Context(), task.Dir+"/made.txt", 100)
	if err != nil || string(made) != "hello\n" {
		t.Errorf("the edit made %q, %v", made, err)
	}
	if tasks := p.Tasks(); len(tasks) != 1 || tasks[0].ResumeID != "earlier" {
		t.Errorf("Tasks: %+v", tasks)
	}
}

func TestScriptedBlocks(t *testing.T) {
	cause := errors.New("enough")
	for name, end := range map[string]func(block chan struct{}, cancel context.CancelCauseFunc) error{
		"until it is let go": func(block chan struct{}, _ context.CancelCauseFunc) error { close(block); return nil },
		"until the end":      func(_ chan struct{}, cancel context.CancelCauseFunc) error { cancel(cause); return cause },
	} {
		block := make(chan struct{})
		p := &providertest.Scripted{Messages: []providers.Message{{Raw: json.RawMessage(`1`)}}, Block: block}
		ctx, cancel := context.WithCancelCause(t.Context())
		var want error
		_, err := p.Run(ctx, providers.Task{}, func(providers.Message) error {
			want = end(block, cancel)
			return nil
		})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		cancel(nil)
	}
}

func TestScriptedStopsWithItsReader(t *testing.T) {
	full := errors.New("full")
	p := &providertest.Scripted{Messages: []providers.Message{{Raw: json.RawMessage(`1`)}, {Raw: json.RawMessage(`2`)}}}
	calls := 0
	if _, err := p.Run(t.Context(), providers.Task{}, func(providers.Message) error { calls++; return full }); !errors.Is(err, full) || calls != 1 {
		t.Errorf("Run: %v after %d messages", err, calls)
	}
}
