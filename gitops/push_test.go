package gitops_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
)

func TestPushToATakenBranch(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo 1 > a")
	c := b.commit(repo, "x")
	theirs := b.hostCommit(branch, map[string]string{"theirs": "1"})
	second := b.hostCommit(branch+"-2", map[string]string{"theirs": "2"})
	b.onHost("update-ref", "refs/heads/"+branch+"-3", "main") // could be fast-forwarded, and is somebody's all the same

	if pushed := b.push(repo, c.Hash, branch); pushed != branch+"-4" {
		t.Errorf("pushed to %s", pushed)
	}
	for ref, want := range map[string]string{branch: theirs, branch + "-2": second, branch + "-3": b.onHost("rev-parse", "main"), branch + "-4": c.Hash} {
		if got := b.onHost("rev-parse", ref); got != want {
			t.Errorf("%s is at %s, want %s", ref, got, want)
		}
	}
}

func TestPushToABranchThatHasMoved(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo 1 > a")
	first := b.commit(repo, "x")
	if err := repo.Push(t.Context(), first.Hash, branch); err != nil {
		t.Errorf("a new branch: %v", err)
	}
	b.sh("echo 2 > a")
	second := b.commit(repo, "y")
	theirs := b.hostCommit(branch, map[string]string{"theirs": "1"})
	if err := repo.Push(t.Context(), second.Hash, branch); !errors.Is(err, gitops.ErrPushRejected) {
		t.Errorf("a branch that has moved: %v", err)
	}
	if got := b.onHost("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/aicw"); got != "refs/heads/"+branch+" "+theirs {
		t.Errorf("refs on the host:\n%s", got)
	}
}

func TestPushWhereABranchIsInTheWay(t *testing.T) {
	b := newBench(t, someFiles)
	b.hostCommit("aicw", map[string]string{"x": "1"})
	refs := b.preflight("")
	if got := refs.Free(branch); got != "aicw-work-12345678" {
		t.Errorf("free: %s", got)
	}
	repo := b.clone()
	b.sh("echo 1 > a")
	if pushed := b.push(repo, b.commit(repo, "x").Hash, branch); pushed != "aicw-work-12345678" {
		t.Errorf("pushed to %s", pushed)
	}
	b.hostCommit("up/on", map[string]string{"x": "1"})
	if got := b.preflight("").Free("up"); got != "up-2" {
		t.Errorf("free: %s", got)
	}
}

func TestPushIsRefused(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo 1 > a")
	c := b.commit(repo, "x")
	if err := b.host.Refuse("owner/repo", "no secrets, please: line 3"); err != nil {
		t.Fatal(err)
	}
	err := repo.Push(t.Context(), c.Hash, branch)
	if !errors.Is(err, gitops.ErrPushRejected) || !strings.Contains(err.Error(), "no secrets, please: line 3") {
		t.Errorf("push: %v", err)
	}
	if strings.Contains(err.Error(), token) {
		t.Errorf("the error tells the token: %v", err)
	}
	b.host.Fail("git-receive-pack", githost.Fault{Status: http.StatusForbidden, Body: "read-only token"})
	if err := repo.Push(t.Context(), c.Hash, branch); !errors.Is(err, gitops.ErrForbidden) || !strings.Contains(err.Error(), "read-only token") {
		t.Errorf("push: %v", err)
	}
}

func TestPushAfterTheBaseWasRewritten(t *testing.T) {
	b := newBench(t, someFiles)
	b.hostCommit("main", map[string]string{"README.md": "rewritten later\n"})
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo 1 > a")
	c := b.commit(repo, "x")
	b.onHost("update-ref", "refs/heads/main", "main~1")
	b.onHost("reflog", "expire", "--expire=now", "--all")
	b.onHost("gc", "-q", "--prune=now")
	if _, err := b.host.Git("owner/repo", "cat-file", "-e", repo.Base()); err == nil {
		t.Fatal("the host still has the base")
	}
	if pushed := b.push(repo, c.Hash, branch); pushed != branch {
		t.Errorf("pushed to %s", pushed)
	}
	b.onHost("fsck", "--connectivity-only")
}

func TestLostAnswerOfAPush(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo 1 > a")
	c := b.commit(repo, "x")
	b.host.Fail("repo.git/git-receive-pack", githost.Fault{CutAfter: 1, Once: true})
	if pushed := b.push(repo, c.Hash, branch); pushed != branch {
		t.Errorf("pushed to %s", pushed)
	}
	if pushed := b.push(repo, c.Hash, branch); pushed != branch {
		t.Errorf("pushed again to %s", pushed)
	}
}

func TestOutageDuringAPush(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo 1 > a")
	c := b.commit(repo, "x")
	b.host.Fail("repo.git/git-receive-pack", githost.Fault{Status: http.StatusServiceUnavailable, Once: true})
	if pushed := b.push(repo, c.Hash, branch); pushed != branch {
		t.Errorf("pushed to %s", pushed)
	}
}

func TestCancelInTheMiddleOfAPush(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo 1 > a")
	c := b.commit(repo, "x")
	b.host.Fail("repo.git/git-receive-pack", githost.Fault{Hang: true})
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errStop)
	defer cancel()
	if err := repo.Push(ctx, c.Hash, branch); !errors.Is(err, errStop) {
		t.Errorf("push: %v", err)
	}
	if _, err := repo.Commit(ctx, "x", nil); !errors.Is(err, errStop) {
		t.Errorf("commit: %v", err)
	}
}

func TestPushIsLarge(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("head -c 20000000 /dev/urandom > big")
	b.push(repo, b.commit(repo, "x").Hash, branch)
	if got := b.onHost("cat-file", "-s", branch+":big"); got != "20000000" {
		t.Errorf("the host has %s bytes", got)
	}
}

// TestPushLosesARace lets somebody else make the branch while the host looks at the push.
func TestPushLosesARace(t *testing.T) {
	b := newBench(t, someFiles)
	other := b.hostCommit("other", map[string]string{"x": "1"})
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo 1 > a")
	c := b.commit(repo, "x")
	hook := "#!/bin/sh\ncat >/dev/null\nunset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES\n" +
		"git rev-parse -q --verify refs/heads/" + branch + " >/dev/null || git update-ref refs/heads/" + branch + " " + other + "\n"
	if err := os.WriteFile(filepath.Join(b.host.Dir("owner/repo"), "hooks", "pre-receive"), []byte(hook), 0o700); err != nil {
		t.Fatal(err)
	}
	if pushed := b.push(repo, c.Hash, branch); pushed != branch+"-2" {
		t.Errorf("pushed to %s", pushed)
	}
	if got := b.onHost("rev-parse", branch); got != other {
		t.Errorf("the other's branch is at %s, want %s", got, other)
	}
}

func TestPushArguments(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	for _, hash := range []string{"", "HEAD", "--all", repo.Base() + "\n^x"} {
		if err := repo.Push(t.Context(), hash, branch); err == nil {
			t.Errorf("pushed %q", hash)
		}
	}
	if err := repo.Push(t.Context(), repo.Base(), "a..b"); err == nil {
		t.Error("pushed to an invalid branch")
	}
}
