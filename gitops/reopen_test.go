package gitops_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const branch = "aicw/work-12345678"

// session clones, commits and pushes once, and forgets the vault, as the end of a job does.
func session(b *bench) gitops.Commit {
	b.Helper()
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo first > first")
	c := b.commit(repo, "first")
	b.push(repo, c.Hash, branch)
	if err := repo.Close(); err != nil {
		b.Fatal(err)
	}
	return c
}

func TestReopen(t *testing.T) {
	b := newBench(t, someFiles)
	first := session(b)
	b.hostCommit("main", map[string]string{"README.md": "the base moved on\n"})

	repo, moved := b.reopen(branch)
	if moved != gitops.MovedNot || repo.Base() != first.Hash {
		t.Errorf("moved %v, base %s", moved, repo.Base())
	}
	if c := b.commit(repo, "nothing"); c.New || c.Files != 0 {
		t.Errorf("commit of nothing: %+v", c)
	}
	b.sh("echo second > second")
	second := b.commit(repo, "second")
	if !second.New || second.Commits != 1 || second.Files != 1 {
		t.Errorf("commit: %+v", second)
	}
	b.push(repo, second.Hash, branch)
	if got := b.onHost("log", "--format=%H", "-2", branch); got != second.Hash+"\n"+first.Hash {
		t.Errorf("log on the host:\n%s", got)
	}
}

func TestReopenAfterAFailedPush(t *testing.T) {
	for name, script := range map[string]string{"shallow": "", "a root commit": "root"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			if script == "" {
				b.hostCommit("main", map[string]string{"more": "1"}) // so that the clone is cut
			}
			repo := b.clone()
			b.startBranch(repo, branch)
			b.sh("echo first > first")
			c := b.commit(repo, "first")
			if err := b.host.Refuse("owner/repo", "closed for today"); err != nil {
				t.Fatal(err)
			}
			if err := repo.Push(t.Context(), c.Hash, branch); !errors.Is(err, gitops.ErrPushRejected) {
				t.Fatalf("push: %v", err)
			}
			if err := errors.Join(repo.Close(), b.host.Refuse("owner/repo", "")); err != nil {
				t.Fatal(err)
			}
			b.hostCommit("main", map[string]string{"README.md": "the base moved on\n"})

			repo, moved := b.reopen(branch)
			if moved != gitops.MovedAway {
				t.Errorf("moved: %v", moved)
			}
			again := b.commit(repo, "nothing more")
			if !again.New || again.Hash != c.Hash || again.Commits != 1 || again.Files != 1 {
				t.Errorf("commit: %+v", again)
			}
			b.push(repo, again.Hash, branch)
			if got := b.onHost("rev-parse", branch); got != c.Hash {
				t.Errorf("the host has %s, want %s", got, c.Hash)
			}
		})
	}
}

func TestReopenWithNothingDone(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, branch)
	if err := repo.Close(); err != nil {
		t.Fatal(err)
	}
	b.hostCommit("main", map[string]string{"README.md": "the base moved on\n"})
	repo, moved := b.reopen(branch)
	if c := b.commit(repo, "x"); moved != gitops.MovedAway || c.New {
		t.Errorf("moved %v, commit %+v", moved, c)
	}
}

func TestReopenFastForwards(t *testing.T) {
	b := newBench(t, someFiles)
	session(b)
	tip := b.hostCommit(branch, map[string]string{"README.md": "by somebody else\n"})
	b.sh("echo dirty > src/main.go; echo untracked > untracked")
	repo, moved := b.reopen(branch)
	if moved != gitops.MovedForward || repo.Base() != tip {
		t.Errorf("moved %v, base %s", moved, repo.Base())
	}
	if got := b.sh("git rev-parse HEAD; cat README.md src/main.go untracked"); got != tip+"\nby somebody else\ndirty\nuntracked" {
		t.Errorf("checkout:\n%s", got)
	}
	c := b.commit(repo, "second")
	if c.Files != 2 || c.Commits != 1 {
		t.Errorf("commit: %+v", c)
	}
	if pushed := b.push(repo, c.Hash, branch); pushed != branch {
		t.Errorf("pushed to %s", pushed)
	}
}

// TestReopenWhereARefIsInTheWay has the agent keep origin's branch from being told to it.
func TestReopenWhereARefIsInTheWay(t *testing.T) {
	for name, script := range map[string]string{
		"a folder": "git update-ref -d refs/remotes/origin/" + branch + "; git update-ref refs/remotes/origin/" + branch + "/deeper HEAD",
		"a lock":   "mkdir -p .git/refs/remotes/origin/aicw; : > .git/refs/remotes/origin/" + branch + ".lock",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			session(b)
			tip := b.hostCommit(branch, map[string]string{"theirs": "1"})
			b.sh(script)
			if repo, moved := b.reopen(branch); moved != gitops.MovedForward || repo.Base() != tip {
				t.Errorf("moved %v, base %s", moved, repo.Base())
			}
		})
	}
}

func TestReopenAgainstChangedFiles(t *testing.T) {
	b := newBench(t, someFiles)
	session(b)
	b.hostCommit(branch, map[string]string{"README.md": "by somebody else\n"})
	b.sh("echo mine > README.md")
	repo, moved := b.reopen(branch)
	if moved != gitops.MovedAhead || b.sh("cat README.md") != "mine" {
		t.Errorf("moved %v, README.md %q", moved, b.sh("cat README.md"))
	}
	c := b.commit(repo, "mine")
	if pushed := b.push(repo, c.Hash, branch); pushed != branch+"-2" {
		t.Errorf("pushed to %s", pushed)
	}
}

func TestReopenDiverged(t *testing.T) {
	b := newBench(t, someFiles)
	session(b)
	b.sh("git commit -q --allow-empty -m unpushed")
	theirs := b.hostCommit(branch, map[string]string{"theirs": "1"})
	repo, moved := b.reopen(branch)
	if moved != gitops.MovedElsewhere {
		t.Errorf("moved: %v", moved)
	}
	if got := b.sh("git rev-parse origin/" + branch); got != theirs {
		t.Errorf("the agent sees %s as the host's, want %s", got, theirs)
	}
	c := b.commit(repo, "x")
	if pushed := b.push(repo, c.Hash, branch); !c.New || pushed != branch+"-2" {
		t.Errorf("pushed to %s, %+v", pushed, c)
	}
	if got := b.onHost("rev-parse", branch); got != theirs {
		t.Errorf("the host's branch was moved to %s", got)
	}
}

func TestReopenAfterTheBranchWasRewritten(t *testing.T) {
	b := newBench(t, someFiles)
	first := session(b)
	b.hostCommit("rewritten", map[string]string{"other": "1"})
	b.onHost("update-ref", "refs/heads/"+branch, "rewritten")
	b.onHost("update-ref", "-d", "refs/heads/rewritten")
	b.onHost("gc", "-q", "--prune=now")
	repo, moved := b.reopen(branch)
	if moved != gitops.MovedElsewhere {
		t.Errorf("moved: %v", moved)
	}
	b.sh("echo 2 > second")
	c := b.commit(repo, "second")
	if pushed := b.push(repo, c.Hash, branch); pushed != branch+"-2" {
		t.Errorf("pushed to %s", pushed)
	}
	b.onHost("merge-base", "--is-ancestor", first.Hash, branch+"-2")
}

func TestReopenSeesNoCheckout(t *testing.T) {
	b := newBench(t, someFiles)
	if err := b.agent.MkdirAll(t.Context(), b.dir); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.git.Reopen(t.Context(), b.agent, b.remote(), b.dir, branch, nil); !errors.Is(err, gitops.ErrNoCheckout) {
		t.Errorf("reopen: %v", err)
	}
	b.dir = filepath.Join(b.dir, "missing")
	if _, _, err := b.git.Reopen(t.Context(), b.agent, b.remote(), b.dir, branch, nil); err == nil {
		t.Error("a missing folder was opened")
	}
}

func TestReopenDamaged(t *testing.T) {
	tests := map[string]string{
		"a missing object":       "chmod u+w .git/objects/pack/*; rm .git/objects/pack/*.pack",
		"a shallow list of junk": "echo ../../etc/passwd > .git/shallow",
		"a shallow list of lies": "git rev-parse HEAD > .git/shallow; echo 0123456789012345678901234567890123456789 >> .git/shallow; rm -f .git/objects/??/*",
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			session(b)
			b.sh(script)
			_, _, err := b.git.Reopen(t.Context(), b.agent, b.remote(), b.dir, branch, nil)
			if !errors.Is(err, gitops.ErrBadCheckout) && !errors.Is(err, gitops.ErrBadObjects) {
				t.Errorf("reopen: %v", err)
			}
		})
	}
}

func TestReopenOfAnUnbornCheckout(t *testing.T) {
	b := newBench(t, nil)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo 1 > a")
	if err := repo.Close(); err != nil {
		t.Fatal(err)
	}
	repo, moved := b.reopen(branch)
	if moved != gitops.MovedAway {
		t.Errorf("moved: %v", moved)
	}
	b.push(repo, b.commit(repo, "first").Hash, branch)
}

func TestCloneAgainFromTheSessionsBranch(t *testing.T) {
	b := newBench(t, someFiles)
	first := session(b)
	if err := b.agent.RemoveAll(t.Context(), b.dir); err != nil {
		t.Fatal(err)
	}
	repo := b.cloneBranch(branch)
	b.sh("echo 2 > second")
	c := b.commit(repo, "second")
	if pushed := b.push(repo, c.Hash, branch); pushed != branch || repo.Base() != first.Hash {
		t.Errorf("pushed to %s from %s", pushed, repo.Base())
	}
}

func TestReopenErrors(t *testing.T) {
	b := newBench(t, someFiles)
	session(b)
	if _, _, err := b.git.Reopen(t.Context(), b.agent, gitops.Remote{URL: b.url, Token: secret.New("wrong")}, b.dir, branch, nil); !errors.Is(err, gitops.ErrAuth) {
		t.Errorf("bad token: %v", err)
	}
	b.host.Fail("info/refs", githost.Fault{Status: http.StatusBadGateway})
	if _, _, err := b.git.Reopen(t.Context(), b.agent, b.remote(), b.dir, branch, nil); !errors.Is(err, gitops.ErrUnreachable) {
		t.Errorf("bad gateway: %v", err)
	}
	if _, _, err := b.git.Reopen(canceled(t, errStop), b.agent, b.remote(), b.dir, branch, nil); !errors.Is(err, errStop) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestMovedWords(t *testing.T) {
	for _, m := range []gitops.Moved{gitops.MovedForward, gitops.MovedAhead, gitops.MovedElsewhere, gitops.MovedAway} {
		if !strings.Contains(m.Words("b"), "b ") {
			t.Errorf("%d says %q", m, m.Words("b"))
		}
	}
	if gitops.MovedNot.Words("b") != "" {
		t.Error("nothing is a lot of words")
	}
}
