package orchestrator_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/providertest"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

const sessionBranch = "aicw/add-a-page-site"

// intruded is a provider that works while somebody else pushes to the session's branch.
func (w *world) intruded(script string, files map[string]string) *providertest.Scripted {
	p := says("x", "", nil)
	work := providertest.Shell(script)
	p.Edit = func(ctx context.Context, task providers.Task) error {
		if _, err := w.host.Commit("acme/site", sessionBranch, "by somebody else", files); err != nil {
			return err
		}
		return work(ctx, task)
	}
	return p
}

// A branch that moved on while the agent worked gets the job's commits on top, and the session goes on from there.
func TestBranchMovedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.mustRun(w.worker(nil), w.job(says("x", "echo one > page.txt", nil)))
	lines := w.mustRun(w.worker(nil), w.job(w.intruded("echo two > ours.txt", map[string]string{"theirs.txt": "theirs\n"})))
	last := lines[len(lines)-1]
	if head := w.git("rev-parse", sessionBranch); !strings.Contains(last, `"completed"`) || !strings.Contains(last, `"commitHash":"`+head+`"`) {
		t.Errorf("the job ended with %s; the branch is at %s", last, head)
	}
	if got := w.git("log", "--format=%s", "-2", sessionBranch); got != "feat: add a page\nby somebody else" {
		t.Errorf("the branch:\n%s", got)
	}
	if got := w.branches(); len(got) != 1 {
		t.Errorf("branches: %v", got)
	}

	lines = w.mustRun(w.worker(nil), w.job(says("x", "cat theirs.txt ours.txt > both.txt; git log --format=%s -2 > log.txt", nil)))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"completed"`) || strings.Contains(strings.Join(lines, ""), "other commits") {
		t.Errorf("the next job:\n%s", strings.Join(lines, "\n"))
	}
	if got := w.git("show", sessionBranch+":both.txt"); got != "theirs\ntwo" {
		t.Errorf("both.txt: %q", got)
	}
}

// Commits that stand against each other stay apart, and the session's branch is another one from then on.
func TestBranchMovedAgainst(t *testing.T) {
	w := newWorld(t)
	w.mustRun(w.worker(nil), w.job(says("x", "echo one > page.txt", nil)))
	lines := w.mustRun(w.worker(nil), w.job(w.intruded("echo ours > page.txt", map[string]string{"page.txt": "theirs\n"})))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"completed"`) || !strings.Contains(last, `"branch":"`+sessionBranch+`-2"`) {
		t.Errorf("the job ended with %s", last)
	}
	if all := strings.Join(lines, "\n"); !strings.Contains(all, "both changed page.txt") || !strings.Contains(all, "which is the session's branch from now on") {
		t.Errorf("it is not said:\n%s", all)
	}
	for branch, want := range map[string]string{sessionBranch: "theirs", sessionBranch + "-2": "ours"} {
		if got := w.git("show", branch+":page.txt"); got != want {
			t.Errorf("%s: page.txt is %q", branch, got)
		}
	}
	lines = w.mustRun(w.worker(nil), w.job(says("x", "echo more > more.txt", nil)))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"branch":"`+sessionBranch+`-2"`) {
		t.Errorf("the next job ended with %s", last)
	}
	if got := w.git("show", sessionBranch+"-2:more.txt"); got != "more" {
		t.Errorf("more.txt: %q", got)
	}
}

// A host that is away just when the commits are to be put on top of others' is no reason for another branch.
func TestOutageBeforeTheRebase(t *testing.T) {
	w := newWorld(t)
	w.mustRun(w.worker(nil), w.job(says("x", "echo one > page.txt", nil)))
	p := w.intruded("echo two > ours.txt", map[string]string{"theirs.txt": "theirs\n"})
	work := p.Edit
	p.Edit = func(ctx context.Context, task providers.Task) error {
		w.host.Fail("service=git-upload-pack", githost.Fault{Status: http.StatusBadGateway, Once: true})
		return work(ctx, task)
	}
	lines := w.mustRun(w.worker(nil), w.job(p))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"push_rejected"`) || !strings.Contains(last, "502") {
		t.Errorf("the job ended with %s", last)
	}
	w.mustRun(w.worker(nil), w.job(says("x", "true", nil)))
	if got := w.git("log", "--format=%s", "-2", sessionBranch); got != "feat: add a page\nby somebody else" {
		t.Errorf("the branch:\n%s", got)
	}
	if got := w.branches(); !slices.Equal(got, []string{sessionBranch}) {
		t.Errorf("branches: %v", got)
	}
}

// Work that was saved and not pushed, on a branch that has moved since, goes on top of it with the session's next job.
func TestSavedWorkOnAMovedBranch(t *testing.T) {
	w := newWorld(t)
	w.mustRun(w.worker(nil), w.job(says("x", "echo one > page.txt", nil)))
	if err := w.host.Refuse("acme/site", "closed for today"); err != nil {
		t.Fatal(err)
	}
	lines := w.mustRun(w.worker(nil), w.job(says("x", "echo two > saved.txt", nil)))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"push_rejected"`) || !strings.Contains(last, "closed for today") {
		t.Errorf("the job ended with %s", last)
	}
	if err := w.host.Refuse("acme/site", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.host.Commit("acme/site", sessionBranch, "by somebody else", map[string]string{"theirs.txt": "theirs\n"}); err != nil {
		t.Fatal(err)
	}
	w.mustRun(w.worker(nil), w.job(says("x", "true", nil)))
	for file, want := range map[string]string{"saved.txt": "two", "theirs.txt": "theirs"} {
		if got := w.git("show", sessionBranch+":"+file); got != want {
			t.Errorf("%s: %q", file, got)
		}
	}
	if got := w.branches(); len(got) != 1 {
		t.Errorf("branches: %v", got)
	}
}

// A worker that cannot know whether the session is still its own makes no branch of its own beside the session's: one that
// was frozen in its push finds there what its successor has pushed.
func TestNoBranchWithoutTheLease(t *testing.T) {
	w := newWorld(t)
	w.mustRun(w.worker(nil), w.job(says("x", "echo one > page.txt", nil)))
	w.host.Fail("service=git-receive-pack", githost.Fault{SlowBy: 2 * time.Second, Once: true}) // longer than the lease is sure
	witness := storage.NewSessions(storage.Config{Store: w.store.Store})
	w.store.Set(func(storagetest.Op) storagetest.Outcome {
		if m, err := witness.Metadata(t.Context(), "site"); err == nil && m.Attempt == 2 && m.GitHub.Head != m.GitHub.Pushed {
			return storagetest.Away // saved, and not pushed yet
		}
		return storagetest.Served
	})
	o := w.worker(func(cfg *orchestrator.Config) {
		cfg.Sessions = storage.NewSessions(storage.Config{Store: w.store, Holder: "frozen", LeaseTTL: time.Second})
		cfg.SaveTimeout = 2 * time.Second
	})
	lines, _ := w.run(t.Context(), o, w.job(w.intruded("echo ours > page.txt", map[string]string{"page.txt": "theirs\n"})))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"code":"storage_error"`) || !strings.Contains(last, `"pushed":false`) {
		t.Errorf("the job ended with %s", last)
	}
	if got := w.branches(); !slices.Equal(got, []string{sessionBranch}) {
		t.Errorf("branches: %v", got)
	}
}
