package gitops_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
)

// diverged is a session whose branch got a commit of somebody else while the agent worked.
func diverged(t *testing.T, ours string, theirs map[string]string) (*bench, *gitops.Repo, gitops.Commit, string) {
	t.Helper()
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo first > first")
	b.push(repo, b.commit(repo, "first").Hash, branch)
	b.sh(ours)
	c := b.commit(repo, "ours")
	tip := b.hostCommit(branch, theirs)
	if err := repo.Push(t.Context(), c.Hash, branch); !errors.Is(err, gitops.ErrDiverged) || !errors.Is(err, gitops.ErrPushRejected) {
		t.Fatalf("push: %v", err)
	}
	return b, repo, c, tip
}

func TestRebase(t *testing.T) {
	b, repo, c, tip := diverged(t, "echo ours > ours; chmod +x ours; ln -s nowhere link; touch 'a\nb'", map[string]string{"theirs": "1"})
	hash, err := repo.Rebase(t.Context(), branch)
	if err != nil {
		t.Fatal(err)
	}
	if hash == c.Hash {
		t.Error("the commit is the same")
	}
	if err := repo.Push(t.Context(), hash, branch); err != nil {
		t.Fatal(err)
	}
	if got := b.onHost("rev-parse", branch, branch+"~1"); got != hash+"\n"+tip {
		t.Errorf("the branch:\n%s", got)
	}
	if got := b.onHost("log", "-1", "--format=%s %an", branch); !strings.HasPrefix(got, "ours ") {
		t.Errorf("the commit: %s", got)
	}
	if got := b.sh("cat theirs ours first; git status --porcelain"); got != "1ours\nfirst" {
		t.Errorf("the checkout: %q", got)
	}
	if again := b.commit(repo, "nothing"); again.New || again.Hash != hash {
		t.Errorf("commit: %+v", again)
	}
}

// Commits that the agent made itself are put on top, too, on whatever branch it made them.
func TestRebaseOfTheAgentsOwnCommits(t *testing.T) {
	b, repo, _, _ := diverged(t, "git checkout -q -b own; echo 1 > one; git add one; git commit -qm one; echo 2 > two; git add two; git commit -qm two; git checkout -q --detach; echo 3 > three",
		map[string]string{"theirs": "1"})
	hash, err := repo.Rebase(t.Context(), branch)
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Push(t.Context(), hash, branch); err != nil {
		t.Fatal(err)
	}
	if got := b.onHost("log", "--format=%s", "-5", branch); !strings.HasPrefix(got, "ours\ntwo\none\n") {
		t.Errorf("log on the host:\n%s", got)
	}
}

// TestRebaseAfterTheAgentsOwn has the agent stop in the middle of a rebase of its own.
func TestRebaseAfterTheAgentsOwn(t *testing.T) {
	b, repo, _, tip := diverged(t, `git checkout -q -b onto; echo 1 > README.md; git commit -qam onto; git checkout -q -; echo 2 > README.md; git commit -qam mine
		! git rebase -q onto >/dev/null 2>&1`, map[string]string{"theirs": "1"})
	hash, err := repo.Rebase(t.Context(), branch)
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Push(t.Context(), hash, branch); err != nil {
		t.Fatal(err)
	}
	if got := b.onHost("log", "--format=%s", "-2", branch); got != "ours\nonto" || b.onHost("rev-parse", branch+"~2") != tip {
		t.Errorf("log on the host:\n%s", got)
	}
}

func TestConflict(t *testing.T) {
	b, repo, c, tip := diverged(t, "echo ours > README.md; echo more > more", map[string]string{"README.md": "theirs\n"})
	if _, err := repo.Rebase(t.Context(), branch); !errors.Is(err, gitops.ErrConflict) || !strings.Contains(err.Error(), "README.md") {
		t.Fatalf("rebase: %v", err)
	}
	if got := b.sh("git rev-parse HEAD; cat README.md more; git status --porcelain; ls .git | grep rebase || true"); got != c.Hash+"\nours\nmore" {
		t.Errorf("the checkout after the conflict: %q", got)
	}
	pushed, err := repo.PushAside(t.Context(), c.Hash, branch)
	if err != nil || pushed != branch+"-2" {
		t.Errorf("pushed to %s, %v", pushed, err)
	}
	if got := b.onHost("rev-parse", branch, branch+"-2"); got != tip+"\n"+c.Hash {
		t.Errorf("the branches: %s", got)
	}
}

// A hook, a filter or a setting of the agent's making neither stops the rebase nor holds it up.
func TestRebaseRunsNoHooks(t *testing.T) {
	b, repo, _, _ := diverged(t, `echo ours > ours
		for hook in pre-rebase post-rewrite post-checkout pre-commit reference-transaction; do
			printf '#!/bin/sh\necho ran >> "%s/../ran"; exit 1\n' "$PWD" > .git/hooks/$hook 2>/dev/null || { mkdir -p .git/hooks; printf '#!/bin/sh\necho ran >> "%s/../ran"; exit 1\n' "$PWD" > .git/hooks/$hook; }
			chmod +x .git/hooks/$hook
		done
		git config sequence.editor false; git config rebase.autosquash true; git config commit.gpgsign true`, map[string]string{"theirs": "1"})
	if _, err := repo.Rebase(t.Context(), branch); err != nil {
		t.Error(err)
	}
	if got := b.sh("cat ../ran 2>/dev/null || true"); got != "" {
		t.Error("a hook ran")
	}
}

func TestRebaseOnADeletedBranch(t *testing.T) {
	b, repo, c, _ := diverged(t, "echo ours > ours", map[string]string{"theirs": "1"})
	b.onHost("update-ref", "-d", "refs/heads/"+branch)
	if _, err := repo.Rebase(t.Context(), branch); !errors.Is(err, gitops.ErrConflict) {
		t.Errorf("rebase: %v", err)
	}
	if pushed, err := repo.PushAside(t.Context(), c.Hash, branch); err != nil || pushed != branch {
		t.Errorf("pushed to %s, %v", pushed, err)
	}
}
