package gitops_test

import (
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
)

func TestMainPath(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	branch := gitops.SessionBranch("aicw", "Add a thing", "0123456789abcdef")
	b.startBranch(repo, branch)
	b.sh("echo new > new.txt && echo more >> README.md && rm src/deep/er/x")

	c := b.commit(repo, gitops.CommitMessage("Add a thing", false))
	if !c.New || c.Commits != 1 || c.Files != 3 || len(c.Notes) != 0 {
		t.Errorf("commit: %+v", c)
	}
	if pushed := b.push(repo, c.Hash, branch); pushed != branch {
		t.Errorf("pushed to %s", pushed)
	}
	if got := b.onHost("rev-parse", branch); got != c.Hash {
		t.Errorf("the host has %s, want %s", got, c.Hash)
	}
	want := "AI Coding Worker <aicw@example.invalid>|AI Coding Worker|feat: add a thing"
	if got := b.onHost("log", "-1", "--format=%an <%ae>|%cn|%B", branch); strings.TrimSpace(got) != want {
		t.Errorf("commit on the host: %q", got)
	}
	if got := b.onHost("diff", "--name-status", "main", branch); got != "M\tREADME.md\nA\tnew.txt\nD\tsrc/deep/er/x" {
		t.Errorf("changes on the host:\n%s", got)
	}
}
