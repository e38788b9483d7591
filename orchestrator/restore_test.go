package orchestrator_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// cutting is a store that breaks off the first reads of snapshots in the middle.
type cutting struct {
	storage.Store
	reads, cuts int
}

func (c *cutting) Get(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	r, info, err := c.Store.Get(ctx, key)
	if err == nil && strings.Contains(key, "/snapshot/") {
		if c.reads++; c.reads <= c.cuts {
			return io.NopCloser(io.MultiReader(io.LimitReader(r, info.Size/2), away{})), info, nil
		}
	}
	return r, info, err
}

type away struct{}

func (away) Read([]byte) (int, error) { return 0, storage.ErrUnavailable }

// TestRestoreBeginsAgain when storage goes away over it: nothing of the job has happened by then.
func TestRestoreBeginsAgain(t *testing.T) {
	w := newWorld(t)
	store := &cutting{Store: storagetest.NewMemory(), cuts: 2}
	w.store = storagetest.NewFaulty(store)
	noise := `i=0; while [ $i -lt 60 ]; do i=$((i+1)); head -c 50000 /dev/urandom > file-$i; done`
	w.mustRun(w.worker(nil), w.job(says("x", noise, nil)))
	lines := w.mustRun(w.worker(nil), w.job(says("x", "git status --short > status.txt", nil)))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"completed"`) || store.reads != 3 {
		t.Errorf("after %d reads the job ended with %s", store.reads, last)
	}
	if got := w.git("show", sessionBranch+":status.txt"); got != "?? status.txt" {
		t.Errorf("the restored checkout has changes:\n%s", got)
	}

	store.cuts = 1 << 20
	impatient := w.worker(func(cfg *orchestrator.Config) { cfg.SaveTimeout = time.Second })
	lines = w.mustRun(impatient, w.job(says("x", "true", nil)))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"storage_error"`) {
		t.Errorf("without storage the job ended with %s", last)
	}
}
