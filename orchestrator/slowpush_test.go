package orchestrator_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// TestSlowPush: a push may take PushTimeout, and no more than EndTimeout once somebody wants the job to end. One that is given up
// is made up for by the session's next job.
func TestSlowPush(t *testing.T) {
	w := newWorld(t)
	slowly := func(by time.Duration) { w.host.Fail("service=git-receive-pack", githost.Fault{SlowBy: by, Once: true}) }
	bounded := func(push, end time.Duration) *orchestrator.Orchestrator {
		return w.worker(func(cfg *orchestrator.Config) { cfg.PushTimeout, cfg.EndTimeout = push, end })
	}
	ended := func(lines []string, words ...string) {
		t.Helper()
		for _, want := range words {
			if last := lines[len(lines)-1]; !strings.Contains(last, want) {
				t.Errorf("want %s, the job ended with %s", want, last)
			}
		}
	}

	slowly(5 * time.Second)
	ended(w.mustRun(bounded(time.Minute, 4*time.Second), w.job(says("x", "echo one > page.txt", nil))), `"completed"`)

	slowly(time.Minute)
	lines := w.mustRun(bounded(4*time.Second, time.Minute), w.job(says("x", "echo two > page.txt", nil)))
	ended(lines, `"code":"push_rejected"`, "the git host did not take it in time", `"pushed":false`)

	slowly(time.Minute)
	ctx, cancel := context.WithCancelCause(t.Context())
	told := says("x", "", nil)
	told.Edit = func(ctx context.Context, _ providers.Task) error {
		cancel(orchestrator.ErrShutdown)
		return context.Cause(ctx)
	}
	lines, err := w.run(ctx, bounded(time.Minute, 4*time.Second), w.job(told))
	if err != nil {
		t.Fatal(err)
	}
	ended(lines, `"code":"shutting_down"`, `"pushed":false`)

	ended(w.mustRun(bounded(time.Minute, time.Minute), w.job(says("x", "cat page.txt", nil))), `"completed"`)
	if got := w.git("show", sessionBranch+":page.txt"); got != "two" {
		t.Errorf("page.txt: %q", got)
	}
}
