package orchestrator_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/providertest"
)

func impatient(cfg *orchestrator.Config) { cfg.IdleTimeout = 300 * time.Millisecond }

func line(toolRuns bool) providers.Message {
	return providers.Message{Raw: json.RawMessage(`{"say":"x"}`), ToolRuns: toolRuns}
}

// An agent that falls silent is stopped, and what it did until then is kept.
func TestSilentAgentIsStopped(t *testing.T) {
	w := newWorld(t)
	p := says("x", "echo half > page.txt", nil)
	p.Messages = append(p.Messages, line(true), line(false))
	p.Block = make(chan struct{})
	lines, err := w.run(t.Context(), w.worker(impatient), w.job(p))
	if err != nil {
		t.Fatal(err)
	}
	last := lines[len(lines)-1]
	for _, want := range []string{`"code":"timeout"`, `"pushed":true`, "silent for 300ms", "IDLE_TIMEOUT"} {
		if !strings.Contains(last, want) {
			t.Errorf("the job ended with %s, which lacks %s", last, want)
		}
	}
	if got := w.git("log", "-1", "--format=%s", "aicw/add-a-page-site"); !strings.HasPrefix(got, "wip:") {
		t.Errorf("commit %q", got)
	}
}

// While a tool runs the silence is the tool's.
func TestToolMayBeSilent(t *testing.T) {
	w := newWorld(t)
	p := says("x", "", nil)
	p.Messages = append(p.Messages, line(true))
	p.Edit = providertest.Shell("sleep 1; echo whole > page.txt")
	lines := w.mustRun(w.worker(impatient), w.job(p))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"completed"`) {
		t.Errorf("the job ended with %s", last)
	}
}

// An abort that comes while a silent agent is being stopped changes nothing.
func TestFirstCauseWins(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	p := says("x", "true", nil)
	work := providertest.Shell("echo half > page.txt")
	p.Edit = func(ctx context.Context, task providers.Task) error {
		if err := work(ctx, task); err != nil {
			return err
		}
		<-ctx.Done()
		cancel(orchestrator.ErrAborted)
		return context.Cause(ctx)
	}
	lines, err := w.run(ctx, w.worker(impatient), w.job(p))
	if err != nil {
		t.Fatal(err)
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, `"code":"timeout"`) || !strings.Contains(last, "silent for") {
		t.Errorf("the job ended with %s", last)
	}
}
