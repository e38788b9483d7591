package orchestrator_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// TestLinesOfStorageNameTheJob makes storage complain in the name of a job.
func TestLinesOfStorageNameTheJob(t *testing.T) {
	w := newWorld(t)
	w.store.Set(func(op storagetest.Op) storagetest.Outcome {
		if op.Name == "Delete" {
			return storagetest.Away
		}
		return storagetest.Served
	})
	var log bytes.Buffer
	job := w.job(says("x", "echo one > page.txt", nil))
	job.RequestID = "request-1"
	w.mustRun(w.worker(func(cfg *orchestrator.Config) { cfg.Log = zerolog.New(zerolog.SyncWriter(&log)) }), job)
	if !strings.Contains(log.String(), "replaced objects not deleted") {
		t.Errorf("storage did not complain: %s", &log)
	}
	for line := range strings.Lines(log.String()) {
		for _, field := range []string{`"request":"request-1"`, `"session":"site"`} {
			if strings.Count(line, field) != 1 {
				t.Errorf("want %s, once, in %s", field, line)
			}
		}
	}
}
