package gitops_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const token = "canary-token-9b3f6a71"

func TestMain(m *testing.M) {
	agentproc.Dispatch(gitops.Helpers()...)
	os.Exit(m.Run())
}

// bench is a host with one repository, an agent, and the git between them.
type bench struct {
	*testing.T
	host  *githost.Host
	git   *gitops.Git
	agent *agentproc.Agent
	dir   string // of the checkout
	state string
	url   string
}

var someFiles = map[string]string{"README.md": "hello\n", "src/main.go": "package main\n", "src/deep/er/x": "x"}

func newBench(t *testing.T, files map[string]string) *bench {
	t.Helper()
	host, err := githost.Start(githost.Config{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	url, err := host.Create("owner/repo", files)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		T: t, host: host, url: url, agent: agenttest.Start(t, secret.New(token)),
		dir: filepath.Join(agenttest.Dir(t), "checkout"), state: t.TempDir(),
	}
	b.git = gitops.New(gitops.Config{
		StateDir: b.state, AllowHTTP: true, AllowedHosts: []string{"127.0.0.1"},
		AuthorName: "AI Coding Worker", AuthorEmail: "aicw@example.invalid",
	})
	return b
}

func (b *bench) remote() gitops.Remote {
	return gitops.Remote{URL: b.url, Token: secret.New(token)}
}

func (b *bench) preflight(branch string) gitops.Refs {
	b.Helper()
	refs, err := b.git.Preflight(b.Context(), b.remote(), branch)
	if err != nil {
		b.Fatal(err)
	}
	return refs
}

func (b *bench) clone() *gitops.Repo {
	b.Helper()
	return b.cloneBranch("")
}

func (b *bench) cloneBranch(branch string) *gitops.Repo {
	b.Helper()
	repo, err := b.git.Clone(b.Context(), b.agent, b.remote(), b.preflight(branch), b.dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.closeLater(repo)
	return repo
}

func (b *bench) reopen(branch string) (*gitops.Repo, gitops.Moved) {
	b.Helper()
	repo, moved, err := b.git.Reopen(b.Context(), b.agent, b.remote(), b.dir, branch, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.closeLater(repo)
	return repo, moved
}

func (b *bench) closeLater(repo *gitops.Repo) {
	b.Cleanup(func() {
		if err := repo.Close(); err != nil {
			b.Error(err)
		}
	})
}

func (b *bench) startBranch(repo *gitops.Repo, name string) {
	b.Helper()
	if err := repo.StartBranch(b.Context(), name); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) commit(repo *gitops.Repo, message string) gitops.Commit {
	b.Helper()
	c, err := repo.Commit(b.Context(), message, nil)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (b *bench) push(repo *gitops.Repo, hash, branch string) string {
	b.Helper()
	pushed, err := repo.PushAside(b.Context(), hash, branch)
	if err != nil {
		b.Fatal(err)
	}
	return pushed
}

// sh runs a script in the checkout as the agent would, and returns what it printed.
func (b *bench) sh(script string) string {
	b.Helper()
	cmd := b.agent.Command("/bin/sh", "-euc", script)
	cmd.Dir = b.dir
	cmd.Env = []string{"HOME=" + b.dir + "/../home", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C", "GIT_TERMINAL_PROMPT=0"}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(b.Context()); err != nil {
		b.Fatalf("sh: %v\n%s\n%s", err, script, out.String())
	}
	return strings.TrimSpace(out.String())
}

// onHost runs git in the host's repository.
func (b *bench) onHost(args ...string) string {
	b.Helper()
	out, err := b.host.Git("owner/repo", args...)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func (b *bench) hostCommit(branch string, files map[string]string) string {
	b.Helper()
	hash, err := b.host.Commit("owner/repo", branch, "elsewhere", files)
	if err != nil {
		b.Fatal(err)
	}
	return hash
}

func canceled(t *testing.T, cause error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	return ctx
}
