package gitops_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// describeTree lists everything but .git, with modes, link targets and hashes.
const describeTree = `find . -path ./.git -prune -o ! -type d -print0 | LC_ALL=C sort -z | xargs -0 sh -c '
	for f do echo "$f"; stat -c %A "$f"; if [ -L "$f" ]; then readlink "$f"; else git hash-object --no-filters "$f"; fi; done' sh`

// oddTree puts a commit with everything that a tree can hold onto the host's main.
func oddTree(b *bench) {
	b.Helper()
	repo := b.clone()
	b.sh(`
		printf '#!/bin/sh\n' > run.sh; chmod 755 run.sh
		ln -s run.sh link; ln -s /nowhere/at/all absolute; ln -s missing dangling
		mkdir -p 'odd "dir"'; printf 1 > 'odd "dir"/tab	and
newline'; printf 2 > 'ünïcode'; printf 3 > con; printf 4 > aux.c; printf 5 > -dash
		printf '\000\001\377' > binary; : > empty; printf 'a\r\nb\r\n' > crlf; printf '*.txt text=auto eol=crlf\n' > .gitattributes; printf 'x\ny\n' > t.txt
	`)
	b.push(repo, b.commit(repo, "odd").Hash, "odd")
	b.onHost("update-ref", "refs/heads/main", "refs/heads/odd")
	if err := b.agent.RemoveAll(b.Context(), b.dir); err != nil {
		b.Fatal(err)
	}
}

func TestCloneIsWhatGitClones(t *testing.T) {
	b := newBench(t, someFiles)
	oddTree(b)
	b.clone()
	got := b.sh(describeTree)
	status := b.sh("git status --porcelain --branch")

	plain := filepath.Join(filepath.Dir(b.dir), "plain")
	ours := b.dir
	b.dir = filepath.Dir(b.dir)
	b.sh("git clone -q --depth 1 --single-branch --no-tags " + b.withToken() + " plain")
	b.dir = plain
	if diff := cmp.Diff(b.sh(describeTree), got); diff != "" {
		t.Errorf("checkout differs from git's own (-git +ours):\n%s", diff)
	}
	if want := b.sh("git status --porcelain --branch"); status != want {
		t.Errorf("status %q, git's own clone says %q", status, want)
	}
	refs := "git for-each-ref --format='%(refname) %(objectname) %(symref)'; git config remote.origin.fetch; git config branch.main.merge; git rev-parse --is-shallow-repository"
	want := b.sh(refs)
	b.dir = ours
	if diff := cmp.Diff(want, b.sh(refs)); diff != "" {
		t.Errorf("refs and settings differ (-git +ours):\n%s", diff)
	}
}

func (b *bench) withToken() string {
	return strings.Replace(b.url, "http://", "http://any:"+token+"@", 1)
}

func TestCheckoutStandsAlone(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	if err := repo.Close(); err != nil {
		t.Fatal(err)
	}
	b.sh("git fsck --strict && test ! -e .git/objects/info/alternates && git status && git log -1")
	if left, err := os.ReadDir(b.state); err != nil || len(left) > 0 {
		t.Errorf("Close left %v, %v", left, err)
	}
}

func TestTokenIsNowhereInTheCheckout(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, "aicw/x")
	b.sh("echo 1 > new")
	b.push(repo, b.commit(repo, "x").Hash, "aicw/x")
	if found := b.sh("grep -rlF -e " + token + " -e $(printf %s 'x-access-token:" + token + "' | base64 -w0) . || true"); found != "" {
		t.Errorf("the token is in\n%s", found)
	}
	if got := b.sh("git config remote.origin.url"); got != b.url {
		t.Errorf("origin is %s", got)
	}
	for _, r := range b.host.Requests() {
		if r.Authorized && (r.User != "x-access-token" || r.Password != token) {
			t.Errorf("credential of %s: %s", r.Path, r.User)
		}
	}
}

func TestCloneABranch(t *testing.T) {
	b := newBench(t, someFiles)
	tip := b.hostCommit("feature/ü#1", map[string]string{"only": "there"})
	repo := b.cloneBranch("feature/ü#1")
	if got := b.sh("git symbolic-ref HEAD; git rev-parse HEAD; cat only; git rev-parse --abbrev-ref @{u}"); got !=
		"refs/heads/feature/ü#1\n"+tip+"\nthereorigin/feature/ü#1" {
		t.Errorf("checkout:\n%s", got)
	}
	if repo.Base() != tip {
		t.Errorf("base %s, want %s", repo.Base(), tip)
	}
}

func TestDefaultBranchIsTheHosts(t *testing.T) {
	b := newBench(t, someFiles)
	b.hostCommit("trunk", map[string]string{"t": "1"})
	b.onHost("symbolic-ref", "HEAD", "refs/heads/trunk")
	if refs := b.preflight(""); refs.Branch != "trunk" || refs.Default != "trunk" || refs.Head != b.onHost("rev-parse", "trunk") || refs.Empty {
		t.Errorf("refs: %+v", refs)
	}
	b.clone()
	if got := b.sh("git symbolic-ref refs/remotes/origin/HEAD"); got != "refs/remotes/origin/trunk" {
		t.Errorf("origin/HEAD is %s", got)
	}
}

func TestMissingBranch(t *testing.T) {
	b := newBench(t, someFiles)
	for _, branch := range []string{"develop", "feature/login", "release-1.0"} {
		b.hostCommit(branch, map[string]string{"x": branch})
	}
	_, err := b.git.Preflight(t.Context(), b.remote(), "devlop")
	var missing *gitops.BranchNotFoundError
	if !errors.As(err, &missing) || !cmp.Equal(missing, &gitops.BranchNotFoundError{Branch: "devlop", Near: []string{"develop"}}) {
		t.Errorf("error: %v", err)
	}
	_, err = b.git.Preflight(t.Context(), b.remote(), "login")
	if !errors.As(err, &missing) || len(missing.Near) == 0 || missing.Near[0] != "feature/login" {
		t.Errorf("error: %v", err)
	}
	if _, err := b.git.Preflight(t.Context(), b.remote(), "--upload-pack=x"); err == nil {
		t.Error("a branch that is an option was looked for")
	}
}

// TestNoDefaultBranch has the host's HEAD stand for no branch that there is, as where a first push went elsewhere.
func TestNoDefaultBranch(t *testing.T) {
	b := newBench(t, someFiles)
	b.onHost("symbolic-ref", "HEAD", "refs/heads/never-pushed")
	_, err := b.git.Preflight(t.Context(), b.remote(), "")
	var missing *gitops.BranchNotFoundError
	if !errors.As(err, &missing) || !strings.HasSuffix(err.Error(), "no default branch, or one without a commit: name the branch to start from: did you mean main?") {
		t.Errorf("error: %v", err)
	}
}

func TestBranchThatVanishes(t *testing.T) {
	b := newBench(t, someFiles)
	b.hostCommit("gone", map[string]string{"x": "1"})
	refs := b.preflight("gone")
	b.onHost("update-ref", "-d", "refs/heads/gone")
	_, err := b.git.Clone(t.Context(), b.agent, b.remote(), refs, b.dir, nil)
	var missing *gitops.BranchNotFoundError
	if !errors.As(err, &missing) {
		t.Errorf("error: %v", err)
	}
}

func TestBranchThatMovesMeanwhile(t *testing.T) {
	b := newBench(t, someFiles)
	refs := b.preflight("")
	tip := b.hostCommit("main", map[string]string{"README.md": "newer\n"})
	repo, err := b.git.Clone(t.Context(), b.agent, b.remote(), refs, b.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.closeLater(repo)
	if repo.Base() != tip || b.sh("cat README.md") != "newer" {
		t.Errorf("base %s, want %s", repo.Base(), tip)
	}
}

func TestEmptyRepository(t *testing.T) {
	b := newBench(t, nil)
	if refs := b.preflight("start"); !refs.Empty || refs.Branch != "start" {
		t.Errorf("refs: %+v", refs)
	}
	repo := b.clone()
	b.startBranch(repo, "aicw/first")
	if c := b.commit(repo, "nothing"); c.Hash != "" || c.New {
		t.Errorf("commit of nothing: %+v", c)
	}
	b.sh("echo 1 > a")
	c := b.commit(repo, "first")
	if !c.New || c.Files != 1 || c.Commits != 1 {
		t.Errorf("commit: %+v", c)
	}
	b.push(repo, c.Hash, "aicw/first")
	if got := b.onHost("log", "--format=%H", "aicw/first"); got != c.Hash {
		t.Errorf("log on the host: %s", got)
	}
}

func TestRefusals(t *testing.T) {
	tests := map[string]struct {
		fault githost.Fault
		want  error
		words string
	}{
		"expired":      {githost.Fault{Status: http.StatusUnauthorized, Body: "the token has expired"}, gitops.ErrAuth, "the token has expired"},
		"forbidden":    {githost.Fault{Status: http.StatusForbidden, Body: "Resource protected by SAML"}, gitops.ErrForbidden, "Resource protected by SAML"},
		"not found":    {githost.Fault{Status: http.StatusNotFound, Body: "<html>no</html>"}, gitops.ErrRepoNotFound, ""},
		"broken":       {githost.Fault{Status: http.StatusInternalServerError}, gitops.ErrUnreachable, "500"},
		"too many":     {githost.Fault{Status: http.StatusTooManyRequests}, gitops.ErrUnreachable, "429"},
		"a web page":   {githost.Fault{Status: http.StatusOK, Body: "<!DOCTYPE html><p>hello"}, gitops.ErrRepoNotFound, ""},
		"cut":          {githost.Fault{CutAfter: 30}, gitops.ErrUnreachable, ""},
		"other host":   {githost.Fault{Location: "http://other.invalid/r.git/info/refs"}, gitops.ErrRedirect, "other.invalid"},
		"other port":   {githost.Fault{Location: "http://127.0.0.1:1/r.git/info/refs"}, gitops.ErrRedirect, ""},
		"other scheme": {githost.Fault{Location: "https://127.0.0.1/r.git/info/refs", Status: 301}, gitops.ErrRedirect, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			refs := b.preflight("")
			b.host.Fail("info/refs", tt.fault)
			_, err := b.git.Preflight(t.Context(), b.remote(), "")
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("preflight: %v", err)
			}
			if _, err = b.git.Clone(t.Context(), b.agent, b.remote(), refs, b.dir, nil); !errors.Is(err, tt.want) {
				t.Errorf("clone: %v", err)
			}
			if left, err := os.ReadDir(b.state); err != nil || len(left) > 0 {
				t.Errorf("a failed clone left %v, %v", left, err)
			}
		})
	}
}

func TestBadToken(t *testing.T) {
	b := newBench(t, someFiles)
	for _, bad := range []string{"", "wrong"} {
		_, err := b.git.Preflight(t.Context(), gitops.Remote{URL: b.url, Token: secret.New(bad)}, "")
		if !errors.Is(err, gitops.ErrAuth) {
			t.Errorf("token %q: %v", bad, err)
		}
	}
	if _, err := b.git.Preflight(t.Context(), gitops.Remote{URL: b.url + "x", Token: secret.New(token)}, ""); !errors.Is(err, gitops.ErrRepoNotFound) {
		t.Errorf("missing repository: %v", err)
	}
}

func TestRedirectOnTheSameHost(t *testing.T) {
	b := newBench(t, someFiles)
	b.host.Fail("/old-name", githost.Fault{Location: b.url + "/info/refs?service=git-upload-pack", Status: http.StatusMovedPermanently})
	r := gitops.Remote{URL: b.host.URL() + "/old-name", Token: secret.New(token)}
	refs, err := b.git.Preflight(t.Context(), r, "")
	if err != nil {
		t.Fatal(err)
	}
	repo, err := b.git.Clone(t.Context(), b.agent, r, refs, b.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.closeLater(repo)
	if got := b.sh("cat README.md"); got != "hello" {
		t.Errorf("README.md is %q", got)
	}
}

func TestRedirectOfALaterRequest(t *testing.T) {
	b := newBench(t, someFiles)
	evil, err := githost.Start(githost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer evil.Close()
	refs := b.preflight("")
	for _, to := range []string{evil.CloneURL("x") + "/git-upload-pack", b.url + "/git-upload-pack"} {
		b.host.Heal()
		b.host.Fail("repo.git/git-upload-pack", githost.Fault{Location: to, Status: http.StatusTemporaryRedirect})
		if _, err := b.git.Clone(t.Context(), b.agent, b.remote(), refs, b.dir, nil); !errors.Is(err, gitops.ErrRedirect) {
			t.Errorf("redirect of the fetch to %s: %v", to, err)
		}
	}
	if got := evil.Requests(); len(got) > 0 {
		t.Errorf("the other host was asked: %+v", got)
	}
}

var errStop = errors.New("stopped by the test")

func TestCancelInTheMiddleOfAClone(t *testing.T) {
	for _, phase := range []string{"info/refs", "/git-upload-pack"} {
		t.Run(phase, func(t *testing.T) {
			b := newBench(t, someFiles)
			refs := b.preflight("")
			b.host.Fail(phase, githost.Fault{Hang: true})
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			first := make(chan struct{}, 100)
			done := make(chan error, 1)
			go func() {
				_, err := b.git.Clone(ctx, b.agent, b.remote(), refs, b.dir, func(gitops.Progress) { first <- struct{}{} })
				done <- err
			}()
			<-first
			cancel(errStop)
			select {
			case err := <-done:
				if !errors.Is(err, errStop) {
					t.Errorf("clone: %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the clone does not end")
			}
			if left, err := os.ReadDir(b.state); err != nil || len(left) > 0 {
				t.Errorf("a cancelled clone left %v, %v", left, err)
			}
		})
	}
}

func TestSilentHost(t *testing.T) {
	b := newBench(t, someFiles)
	impatient := gitops.New(gitops.Config{
		StateDir: b.state, AllowHTTP: true, AllowedHosts: []string{"127.0.0.1"}, Stall: 50 * time.Millisecond,
	})
	b.host.Fail("info/refs", githost.Fault{Hang: true})
	if _, err := impatient.Preflight(t.Context(), b.remote(), ""); !errors.Is(err, gitops.ErrUnreachable) {
		t.Errorf("preflight: %v", err)
	}
}

func TestProgress(t *testing.T) {
	files := map[string]string{}
	for i := range 300 {
		noise := make([]byte, 4<<10)
		if _, err := rand.Read(noise); err != nil {
			t.Fatal(err)
		}
		files[fmt.Sprintf("d%d/f%d", i%7, i)] = string(noise)
	}
	b := newBench(t, files)
	b.host.Fail("/git-upload-pack", githost.Fault{SlowBy: 30 * time.Millisecond})
	var seen []gitops.Progress
	repo, err := b.git.Clone(t.Context(), b.agent, b.remote(), b.preflight(""), b.dir, func(p gitops.Progress) { seen = append(seen, p) })
	if err != nil {
		t.Fatal(err)
	}
	b.closeLater(repo)
	if seen[0].Message != "Fetching main" {
		t.Errorf("first: %+v", seen[0])
	}
	if len(seen) < 3 {
		t.Errorf("progress was told %d times only", len(seen))
	}
	for i, p := range seen {
		if p.Percent < 0 || p.Percent > 100 || i > 0 && p.Percent < seen[i-1].Percent || p.Message == "" || strings.ContainsAny(p.Message, "\r\n") {
			t.Errorf("progress %d: %+v", i, p)
		}
	}
}

func TestBlockedAddresses(t *testing.T) {
	b := newBench(t, someFiles)
	strict := gitops.New(gitops.Config{StateDir: b.state, AllowHTTP: true})
	_, port, _ := strings.Cut(strings.TrimPrefix(b.host.URL(), "http://"), ":")
	for _, host := range []string{
		"127.0.0.1", "127.1", "127.8.9.10", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0", "0.0.0.0", "localhost", "localhost.",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "127.0.0.1.",
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200", "169.254.169.254", "168.63.129.16", "192.0.0.192", "198.18.0.1",
		"[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "224.0.0.1", "255.255.255.255",
	} {
		r := gitops.Remote{URL: "http://" + host + ":" + port + "/owner/repo.git", Token: secret.New(token)}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := strict.Preflight(ctx, r, "")
		cancel()
		// A spelling that the resolver does not know is no way in either.
		if !errors.Is(err, gitops.ErrBlockedAddress) && !errors.Is(err, gitops.ErrUnreachable) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if got := b.host.Requests(); len(got) > 0 {
		t.Errorf("the host was asked: %+v", got)
	}
	for _, name := range []string{"127.0.0.1", "localhost", "[::1]"} {
		_, err := strict.Preflight(t.Context(), gitops.Remote{URL: "http://" + name + ":" + port + "/owner/repo.git"}, "")
		if !errors.Is(err, gitops.ErrBlockedAddress) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
