package gitops_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
)

// TestRefusalsOfAPush is what hosts say to a push after a clone that went well.
func TestRefusalsOfAPush(t *testing.T) {
	const post, asked = "repo.git/git-receive-pack", "info/refs?service=git-receive-pack"
	fault := func(request string, status int, body string) func(*bench) error {
		return func(b *bench) error { b.host.Fail(request, githost.Fault{Status: status, Body: body}); return nil }
	}
	tests := map[string]struct {
		refuse   func(*bench) error
		want     error
		words    string
		requests int // of the kind that is refused; 0: any number
	}{
		"hook": {
			func(b *bench) error { return b.host.Refuse("owner/repo", "line 3 has a key in it") },
			gitops.ErrPushRejected, "pre-receive hook declined: line 3 has a key in it", 1,
		},
		"protected branch": {
			func(b *bench) error {
				return b.host.Protect("owner/repo", "aicw/*", "GL-HOOK-ERR: You are not allowed to push code to protected branches")
			},
			gitops.ErrPushRejected, "hook declined: GL-HOOK-ERR: You are not allowed to push code to protected branches", 1,
		},
		"quota by a hook": {
			func(b *bench) error {
				return b.host.Refuse("owner/repo", "Your push would cause the repository to exceed its allocated storage limit")
			},
			gitops.ErrPushRejected, "allocated storage limit", 1,
		},
		"quota by a status": {fault(post, http.StatusInsufficientStorage, "10 GB of 10 GB used"), gitops.ErrPushRejected, "507 Insufficient Storage: 10 GB of 10 GB used", 1},
		"size":              {fault(post, http.StatusRequestEntityTooLarge, "<html>no</html>"), gitops.ErrPushRejected, "413 Request Entity Too Large", 1},
		"forbidden":         {fault(asked, http.StatusForbidden, "Write access to repository not granted."), gitops.ErrForbidden, "Write access to repository not granted.", 1},
		"forbidden late":    {fault(post, http.StatusForbidden, "The repository is archived."), gitops.ErrForbidden, "The repository is archived.", 1},
		"expired":           {fault("", http.StatusUnauthorized, "The token has expired."), gitops.ErrAuth, "The token has expired.", 0},
		"expired late":      {fault(post, http.StatusUnauthorized, "The token has expired."), gitops.ErrAuth, "The token has expired.", 1},
		"gone":              {fault("", http.StatusNotFound, "Not Found"), gitops.ErrRepoNotFound, "Not Found", 0},
		"a branch that the host does not show": {
			func(b *bench) error {
				b.hostCommit("aicw", map[string]string{"x": "1"})
				b.onHost("config", "transfer.hideRefs", "refs/heads/aicw")
				return nil
			},
			gitops.ErrPushRejected, "deny updating a hidden ref", 1,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			repo := b.clone()
			b.startBranch(repo, branch)
			b.sh("echo 1 > a")
			c := b.commit(repo, "x")
			if err := tt.refuse(b); err != nil {
				t.Fatal(err)
			}
			before := posts(b)
			err := repo.Push(t.Context(), c.Hash, branch)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.words) || strings.Contains(err.Error(), token) {
				t.Errorf("push: %v", err)
			}
			if n := posts(b) - before; tt.requests > 0 && n > tt.requests {
				t.Errorf("tried %d times", n)
			}
		})
	}
}

// posts counts the pushes that the host was sent.
func posts(b *bench) (n int) {
	for _, r := range b.host.Requests() {
		if r.Method == http.MethodPost && r.Service == githost.ReceivePack {
			n++
		}
	}
	return n
}

func TestNameThatIsAFolder(t *testing.T) {
	for name, other := range map[string]string{"a branch for its folder": "aicw", "a folder of branches": branch + "/deeper"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			repo := b.clone()
			b.startBranch(repo, branch)
			b.sh("echo 1 > a")
			c := b.commit(repo, "x")
			b.hostCommit(other, map[string]string{"x": "1"})
			err := repo.Push(t.Context(), c.Hash, branch)
			if !errors.Is(err, gitops.ErrNameTaken) || !errors.Is(err, gitops.ErrPushRejected) || !strings.HasSuffix(err.Error(), " "+other) {
				t.Errorf("push: %v", err)
			}
			if pushed := b.push(repo, c.Hash, branch); b.onHost("rev-parse", pushed) != c.Hash {
				t.Errorf("pushed to %s", pushed)
			}
		})
	}
}
