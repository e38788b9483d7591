package orchestrator_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// slow is a store that takes snapshots in small pieces.
type slow struct{ storage.Store }

func (s slow) Put(ctx context.Context, key string, r io.Reader) error {
	return s.Store.Put(ctx, key, slowReader{r})
}

type slowReader struct{ r io.Reader }

func (s slowReader) Read(p []byte) (int, error) {
	<-time.After(100 * time.Millisecond)
	return s.r.Read(p[:min(len(p), 64<<10)])
}

// TestSlowStorage takes longer for a workspace than storage that is away is waited for: that is no reason to lose it, unless
// somebody wants the job to end.
func TestSlowStorage(t *testing.T) {
	const noise = "head -c 3000000 /dev/urandom > noise; echo noise > .gitignore; echo one > page.txt"
	w := newWorld(t)
	w.store = storagetest.NewFaulty(slow{storagetest.NewMemory()})
	impatient := w.worker(func(cfg *orchestrator.Config) { cfg.SaveTimeout = time.Second })
	begun := time.Now()
	lines := w.mustRun(impatient, w.job(says("x", noise, nil)))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"completed"`) {
		t.Errorf("the job ended with %s", last)
	}
	if took := time.Since(begun); took < 3*time.Second {
		t.Errorf("the store was not slow: %s", took)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	for _, end := range []struct {
		code string
		tell func()
	}{
		{"aborted", func() { // by way of another worker
			if _, err := w.sessions().RequestAbort(t.Context(), "site"); err != nil {
				t.Error(err)
			}
		}},
		{"shutting_down", func() { cancel(orchestrator.ErrShutdown) }},
	} {
		p := says("x", "", nil)
		p.Edit = func(ctx context.Context, _ providers.Task) error {
			end.tell()
			<-ctx.Done()
			return context.Cause(ctx)
		}
		lines, err := w.run(ctx, impatient, w.job(p))
		if err != nil {
			t.Fatal(err)
		}
		if last := lines[len(lines)-1]; !strings.Contains(last, `"code":"`+end.code+`"`) || !strings.Contains(strings.Join(lines, "\n"), "storage did not answer in time") {
			t.Errorf("%s: the job ended after %s", end.code, strings.Join(lines, "\n"))
		}
	}
}
