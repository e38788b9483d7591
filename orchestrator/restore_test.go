package orchestrator_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
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

// loseFiles takes the session's snapshot out of storage.
func (w *world) loseFiles() {
	w.t.Helper()
	found, err := w.store.List(w.t.Context(), "session-site/snapshot/", "", 10)
	if err != nil || len(found) != 1 {
		w.t.Fatal(found, err)
	}
	if err := w.store.Delete(w.t.Context(), found[0].Key); err != nil {
		w.t.Fatal(err)
	}
}

// TestSessionWithoutItsFiles is cloned again from its own branch, if everything is there.
func TestSessionWithoutItsFiles(t *testing.T) {
	w := newWorld(t)
	earlier("echo one > page.txt")(w)
	w.loseFiles()
	p := &forgetful{Scripted: says("x", "echo two >> page.txt", nil)}
	lines := w.mustRun(w.worker(nil), w.job(p))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"completed"`) || !strings.Contains(strings.Join(lines, ""), "stored files are gone") {
		t.Errorf("the events:\n%s", strings.Join(lines, "\n"))
	}
	if got := w.git("show", sessionBranch+":page.txt"); got != "one\ntwo" {
		t.Errorf("page.txt: %q", got)
	}
	if strings.Contains(strings.Join(lines, ""), "conversation is gone") {
		t.Error("the assistant was asked for a conversation that is gone with the files")
	}
	earlier("echo three >> page.txt")(w)
	if got := w.git("show", sessionBranch+":page.txt"); got != "one\ntwo\nthree" {
		t.Errorf("page.txt after one more job: %q", got)
	}

	if err := w.host.Refuse("acme/site", "not today"); err != nil {
		t.Fatal(err)
	}
	earlier("echo four >> page.txt")(w)
	w.loseFiles()
	lines = w.mustRun(w.worker(nil), w.job(says("x", "true", nil)))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"session_corrupt"`) {
		t.Errorf("without a commit that was never pushed the job ended with %s", last)
	}
}

// afterSave does something when the phase save is over.
type afterSave struct {
	witness
	do func()
}

func (a *afterSave) Watch(orchestrator.JobInfo) orchestrator.Watch { return a }

func (a *afterSave) Phase(p orchestrator.Phase) {
	if p.Name == "save" {
		a.do()
	}
}

// TestSnapshotThatCouldNotBeNamed in time is the session's all the same, if storage is back for the job's last move.
func TestSnapshotThatCouldNotBeNamed(t *testing.T) {
	w := newWorld(t)
	stored := false
	w.store.Set(func(op storagetest.Op) storagetest.Outcome {
		stored = stored || op.Name == "Put"
		if stored && strings.HasSuffix(op.Key, ".session-metadata.json") {
			return storagetest.Away
		}
		return storagetest.Served
	})
	job := w.job(says("x", "echo one > page.txt", nil))
	job.Repo = nil
	lines := w.mustRun(w.worker(func(cfg *orchestrator.Config) {
		cfg.SaveTimeout = 5 * time.Second
		cfg.Observers = []orchestrator.Observer{&afterSave{do: func() { w.store.Set(nil) }}}
	}), job)
	if last := lines[len(lines)-1]; !strings.Contains(last, `"storage_error"`) {
		t.Errorf("the job ended with %s", last)
	}
	job.Provider = says("x", "grep one page.txt", nil)
	lines = w.mustRun(w.worker(nil), job)
	if last := lines[len(lines)-1]; !strings.Contains(last, `"completed"`) {
		t.Errorf("the next job, which looks for the work, ended with %s", last)
	}
}

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

// losing is a git whose every clone is the last thing that happens before storage goes away.
type losing struct {
	orchestrator.Git
	lose func()
}

func (g losing) Clone(
	ctx context.Context, agent *agentproc.Agent, r gitops.Remote, refs gitops.Refs, dir string, progress func(gitops.Progress),
) (*gitops.Repo, error) {
	defer g.lose()
	return g.Git.Clone(ctx, agent, r, refs, dir, progress)
}

// TestStorageAwayBeforeTheAgent: nobody works on a branch that no session knows, and nobody waits for storage without end.
func TestStorageAwayBeforeTheAgent(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer time.AfterFunc(15*time.Second, func() { cancel(orchestrator.ErrAborted) }).Stop()
	p := says("x", "true", nil)
	lines, err := w.run(ctx, w.worker(func(cfg *orchestrator.Config) {
		cfg.Git = losing{cfg.Git, func() { w.store.Set(storagetest.AllAway) }}
		cfg.SaveTimeout = 500 * time.Millisecond
	}), w.job(p))
	if !errors.Is(err, storage.ErrUnavailable) || len(p.Tasks()) > 0 {
		t.Errorf("Run: %v; the agent ran %d times", err, len(p.Tasks()))
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, `"code":"storage_error"`) {
		t.Errorf("the job ended with %s", last)
	}
}
