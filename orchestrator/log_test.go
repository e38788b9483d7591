package orchestrator_test

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
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

// rude is a git host that repeats what it was sent.
type rude struct{ orchestrator.Git }

func (rude) Preflight(context.Context, gitops.Remote, string) (gitops.Refs, error) {
	return gitops.Refs{}, errors.New("the host does not like " + token)
}

// TestLogHasNoSecrets of a job that fails in the words of others, not even at the level debug.
func TestLogHasNoSecrets(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	w.mustRun(w.worker(func(cfg *orchestrator.Config) {
		cfg.Git, cfg.Log = rude{cfg.Git}, zerolog.New(zerolog.SyncWriter(&log))
	}), w.job(says("x", "true", nil)))
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, token) {
			t.Errorf("the log has the token: %s", line)
		}
	}
	for _, message := range []string{"phase ended", "job ended"} {
		if !regexp.MustCompile(`the host does not like \[redacted\].*"` + message).MatchString(log.String()) {
			t.Errorf("%q does not say why: %s", message, &log)
		}
	}
}
