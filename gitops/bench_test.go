package gitops_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
)

const benchFiles = 20_000

// largeRepo serves a repository of 20,000 files and 200 MB, half of it compressible.
func largeRepo(b *testing.B) string {
	b.Helper()
	host, err := githost.Start(githost.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = host.Close() })
	random := rand.New(rand.NewPCG(1, 2))
	files := make(map[string]string, benchFiles)
	for i := range benchFiles {
		data := make([]byte, 10<<10)
		for j := range len(data) / 2 {
			data[j] = byte(random.Uint32())
		}
		files[fmt.Sprintf("dir%d/sub%d/file%d.txt", i%97, i%13, i)] = string(data)
	}
	url, err := host.Create("large", files)
	if err != nil {
		b.Fatal(err)
	}
	return url
}

// BenchmarkClone compares Clone with git's own, of the same repository.
func BenchmarkClone(b *testing.B) {
	url := largeRepo(b)
	root := agenttest.Dir(b)
	b.Run("aicw", func(b *testing.B) {
		agent := agenttest.Start(b)
		git := gitops.New(gitops.Config{StateDir: b.TempDir(), AllowHTTP: true, AllowedHosts: []string{"127.0.0.1"}})
		n := 0
		for b.Loop() {
			n++
			dir := filepath.Join(root, fmt.Sprintf("aicw%d", n))
			r := gitops.Remote{URL: url}
			refs, err := git.Preflight(b.Context(), r, "")
			if err != nil {
				b.Fatal(err)
			}
			repo, err := git.Clone(b.Context(), agent, r, refs, dir, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			_ = repo.Close()
			if err := agent.RemoveAll(b.Context(), dir); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("git", func(b *testing.B) {
		n := 0
		dir := b.TempDir()
		for b.Loop() {
			n++
			target := filepath.Join(dir, fmt.Sprintf("git%d", n))
			cmd := exec.Command("git", "clone", "-q", "--depth", "1", "--single-branch", "--no-tags", url, target)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			b.StopTimer()
			_ = os.RemoveAll(target)
			b.StartTimer()
		}
	})
}

// BenchmarkSession is what gitops adds to a job on a small repository: look, clone, branch, and find nothing to commit.
func BenchmarkSession(b *testing.B) {
	host, err := githost.Start(githost.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer host.Close()
	url, err := host.Create("small", someFiles)
	if err != nil {
		b.Fatal(err)
	}
	agent := agenttest.Start(b)
	root := agenttest.Dir(b)
	git := gitops.New(gitops.Config{StateDir: b.TempDir(), AllowHTTP: true, AllowedHosts: []string{"127.0.0.1"}})
	n := 0
	for b.Loop() {
		n++
		r := gitops.Remote{URL: url}
		refs, err := git.Preflight(b.Context(), r, "")
		if err != nil {
			b.Fatal(err)
		}
		repo, err := git.Clone(b.Context(), agent, r, refs, filepath.Join(root, fmt.Sprint(n)), nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := repo.StartBranch(b.Context(), "aicw/x"); err != nil {
			b.Fatal(err)
		}
		if _, err := repo.Commit(b.Context(), "x", nil); err != nil {
			b.Fatal(err)
		}
		_ = repo.Close()
	}
}
