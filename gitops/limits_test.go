package gitops_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// limited gives the bench a git with limits of its own.
func (b *bench) limited(l gitops.Limits) *bench {
	other := *b
	other.git = gitops.New(gitops.Config{
		StateDir: b.state, AllowHTTP: true, AllowedHosts: []string{"127.0.0.1"}, AuthorName: "x", AuthorEmail: "x@example.invalid", Limits: l,
	})
	return &other
}

// tryClone clones, and sees to it that a failure leaves nothing: no process, no vault.
func (b *bench) tryClone(ctx context.Context) error {
	b.Helper()
	repo, err := b.git.Clone(ctx, b.agent, b.remote(), gitops.Refs{Branch: "main", Default: "main"}, b.dir, nil)
	if err == nil {
		b.closeLater(repo)
		return nil
	}
	if pids := fetchers(b.T); len(pids) > 0 {
		b.Errorf("processes %v are left", pids)
	}
	if left, dirErr := os.ReadDir(b.state); dirErr != nil || len(left) > 0 {
		b.Errorf("vaults are left: %v, %v", left, dirErr)
	}
	return err
}

// fetchers are the children of this process that fetch.
func fetchers(t *testing.T) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		line, _ := os.ReadFile(path)
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		if strings.Contains(string(line), "git-fetch") && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestRepositoriesBeyondTheLimits(t *testing.T) {
	const push = "\n git add -A; git commit -qm x --allow-empty; git push -q origin HEAD:main"
	tests := map[string]struct {
		script string // brings main to the host
		limits gitops.Limits
		words  string
	}{
		"a bomb of files": {
			script: bomb + `git push -q origin $(git commit-tree $t -m bomb):refs/heads/main`,
			words:  "more than 1000000 files",
		},
		"300 MB of one file":        {script: `head -c 300000000 /dev/zero > big` + push, limits: gitops.Limits{Bytes: 100 << 20}, words: "its files have more than 100 MiB"},
		"a file that is no smaller": {script: `head -c 9000000 /dev/urandom > big` + push, limits: gitops.Limits{Bytes: 8 << 20}, words: "more than 8 MiB to transfer"},
		"a message that git keeps in memory": {
			script: longMessage + `git push -q origin HEAD:main`,
			limits: gitops.Limits{Memory: 60 << 20}, words: "more memory than it may have",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.plain("seed").sh(fixed + tt.script)
			if err := b.limited(tt.limits).tryClone(t.Context()); !errors.Is(err, gitops.ErrLimit) || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("clone: %v", err)
			}
		})
	}
}

// bomb makes a tree, $t, of ten objects that stands for ten thousand million files.
const bomb = `entries() { for i in 0 1 2 3 4 5 6 7 8 9; do printf "$1\tx$i\n" "$2"; done; }
	t=$(entries '100644 blob %s' $(echo boom | git hash-object -w --stdin) | git mktree)
	for n in 1 2 3 4 5 6 7 8 9; do t=$(entries '040000 tree %s' $t | git mktree); done
	`

const longMessage = `head -c 80000000 /dev/zero | tr '\0' 'a' > ../message; git commit -q --allow-empty -F ../message
	`

// TestLargeFileInLittleMemory clones, commits and pushes files that are larger than what git may allocate.
func TestLargeFileInLittleMemory(t *testing.T) {
	b := newBench(t, nil).limited(gitops.Limits{Memory: 50 << 20})
	b.seed(`head -c 60000000 /dev/zero > big`)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("tr '\\0' x < big > other")
	b.push(repo, b.commit(repo, "x").Hash, branch)
	if got := b.onHost("cat-file", "-s", branch+":other"); got != "60000000" {
		t.Errorf("the host has %s bytes", got)
	}
}

func TestHandOverBeyondTheLimits(t *testing.T) {
	tests := map[string]struct {
		change string
		limits gitops.Limits
	}{
		"bytes":  {`head -c 9000000 /dev/urandom > big; git add big; git commit -qm x`, gitops.Limits{Bytes: 8 << 20}},
		"memory": {longMessage, gitops.Limits{Memory: 60 << 20}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles).limited(tt.limits)
			repo := b.clone()
			b.startBranch(repo, branch)
			hash := b.sh(tt.change + "\n git rev-parse HEAD")
			if err := repo.Push(t.Context(), hash, branch); !errors.Is(err, gitops.ErrLimit) {
				t.Errorf("push: %v", err)
			}
		})
	}
}

// TestCommitOfABomb gives the agent's index a tree that nobody could unpack, as a folder that is not checked out.
func TestCommitOfABomb(t *testing.T) {
	b := newBench(t, someFiles).limited(gitops.Limits{Memory: 60 << 20})
	repo := b.clone()
	b.startBranch(repo, branch)
	hashes := strings.Fields(b.sh(bomb + `git sparse-checkout set --cone --sparse-index; echo 1 > new; git rev-parse HEAD:src; echo $t`))
	index := filepath.Join(b.dir, ".git", "index")
	data, err := b.agent.ReadFile(t.Context(), index, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.ReplaceAll(data, unhex(t, hashes[0]), unhex(t, hashes[1]))
	if err := b.agent.WriteFile(t.Context(), index, 0o600, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Commit(t.Context(), "x", nil); !errors.Is(err, gitops.ErrLimit) {
		t.Errorf("commit: %v", err)
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// drip is a host that answers a fetch with a byte now and then, for ever.
func drip(b *bench) *httptest.Server {
	head := b.onHost("rev-parse", "main")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			b.host.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		flush := http.NewResponseController(w)
		for text := "0034shallow " + head + "00000008NAK\n"; ; text = "0006\x02." {
			if _, err := io.WriteString(w, text); err != nil || flush.Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}))
	b.Cleanup(server.Close)
	return server
}

func TestHostThatDrips(t *testing.T) {
	b := newBench(t, someFiles).limited(gitops.Limits{Time: time.Second})
	b.url = drip(b).URL + "/owner/repo.git"
	if err := b.tryClone(t.Context()); !errors.Is(err, gitops.ErrLimit) || !strings.Contains(err.Error(), "takes longer than 1s") {
		t.Errorf("clone: %v", err)
	}
}

func TestHostThatHangs(t *testing.T) {
	b := newBench(t, someFiles)
	b.git = gitops.New(gitops.Config{StateDir: b.state, AllowHTTP: true, AllowedHosts: []string{"127.0.0.1"}, Stall: 100 * time.Millisecond})
	for _, request := range []string{"info/refs", "/git-upload-pack"} {
		b.host.Heal()
		b.host.Fail(request, githost.Fault{Hang: true})
		if err := b.tryClone(t.Context()); !errors.Is(err, gitops.ErrUnreachable) || !strings.Contains(err.Error(), "it went silent") {
			t.Errorf("clone, when %s hangs: %v", request, err)
		}
	}
}

func TestForbiddenObjectsOfTheHost(t *testing.T) {
	b := newBench(t, nil)
	b.seed(`printf '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch\n' > .gitmodules`)
	if err := b.tryClone(t.Context()); !errors.Is(err, gitops.ErrBadObjects) || !strings.Contains(err.Error(), "gitmodulesUrl") {
		t.Errorf("clone: %v", err)
	}
}

// TestTheProcessThatFetches looks at it from outside, where the agent would, and cancels it.
func TestTheProcessThatFetches(t *testing.T) {
	b := newBench(t, someFiles)
	b.url = drip(b).URL + "/owner/repo.git"
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- b.tryClone(ctx) }()
	var pids []int
	for deadline := time.Now().Add(20 * time.Second); len(pids) == 0; pids = fetchers(t) {
		if time.Now().After(deadline) {
			t.Fatal("no process fetches")
		}
		time.Sleep(time.Millisecond)
	}
	for _, file := range []string{"cmdline", "environ"} { // environ cannot be read once the process has said so
		seen, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pids[0]), file))
		if bytes.Contains(seen, []byte(token)) || file == "cmdline" && len(seen) == 0 {
			t.Errorf("%s: %q", file, seen)
		}
	}
	cancel(errStop)
	select {
	case err := <-done:
		if !errors.Is(err, errStop) {
			t.Errorf("clone: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the clone does not end")
	}
}

// TestCertificatesOfTheOperator clones from a host whose certificate only a file of the operator's vouches for.
func TestCertificatesOfTheOperator(t *testing.T) {
	b := newBench(t, someFiles)
	server := httptest.NewTLSServer(b.host)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string][]string{"with": {"SSL_CERT_FILE=" + file}, "without": nil} {
		git := gitops.New(gitops.Config{StateDir: b.state, AllowedHosts: []string{"127.0.0.1"}, Env: env})
		r := gitops.Remote{URL: server.URL + "/owner/repo.git", Token: secret.New(token)}
		repo, err := git.Clone(t.Context(), b.agent, r, gitops.Refs{Branch: "main"}, filepath.Join(filepath.Dir(b.dir), name), nil)
		if err == nil {
			b.closeLater(repo)
		}
		if trusted := err == nil; trusted != (name == "with") {
			t.Errorf("%s the file: %v", name, err)
		}
	}
}
