package githost_test

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
)

const token = "canary-githost-5f1c"

func start(t *testing.T, cfg githost.Config) *githost.Host {
	t.Helper()
	h, err := githost.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// git runs a client as a user would, with nothing but the test's own settings.
func git(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_AUTHOR_NAME=T", "GIT_AUTHOR_EMAIL=t@example.invalid", "GIT_COMMITTER_NAME=T", "GIT_COMMITTER_EMAIL=t@example.invalid",
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := git(t, dir, args...)
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

func create(t *testing.T, h *githost.Host, name string, files map[string]string) string {
	t.Helper()
	url, err := h.Create(name, files)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func withToken(url string) string { return strings.Replace(url, "http://", "http://any:"+token+"@", 1) }

func TestCloneAndPush(t *testing.T) {
	h := start(t, githost.Config{Token: token})
	files := map[string]string{"README.md": "hello\n", "dir/od\"d\tnä\nme": "x", "empty": ""}
	url := create(t, h, "owner/repo", files)
	work := filepath.Join(t.TempDir(), "work")

	if out, err := git(t, "", "clone", url, work); err == nil {
		t.Fatalf("clone without a token worked:\n%s", out)
	}
	mustGit(t, "", "clone", "-q", withToken(url), work)
	for path, want := range files {
		got, err := os.ReadFile(filepath.Join(work, path))
		if err != nil || string(got) != want {
			t.Errorf("%q = %q, %v; want %q", path, got, err, want)
		}
	}

	writeNoise(t, filepath.Join(work, "noise"), 3<<20)
	mustGit(t, work, "add", "-A")
	mustGit(t, work, "commit", "-q", "-m", "more")
	mustGit(t, work, "push", "-q", "origin", "HEAD:refs/heads/topic")

	got, err := h.Git("owner/repo", "rev-parse", "topic")
	if err != nil {
		t.Fatal(err)
	}
	if want := mustGit(t, work, "rev-parse", "HEAD"); got != want {
		t.Errorf("pushed %s, the host has %s", want, got)
	}
}

// writeNoise writes bytes that cannot be compressed, so that a push is larger than http.postBuffer.
func writeNoise(t *testing.T, path string, n int) {
	t.Helper()
	data := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range data {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		data[i] = byte(x)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCommitMovesABranch(t *testing.T) {
	h := start(t, githost.Config{})
	create(t, h, "r", map[string]string{"a": "1", "b": "1"})
	hash, err := h.Commit("r", "side", "change", map[string]string{"a": "2"})
	if err != nil {
		t.Fatal(err)
	}
	log, err := h.Git("r", "log", "--format=%H %s", "side")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(log, hash+" change\n") || !strings.HasSuffix(log, " Initial commit") {
		t.Errorf("log of side:\n%s", log)
	}
	tree, err := h.Git("r", "grep", "-h", "", "side")
	if err != nil || tree != "2\n1" {
		t.Errorf("contents of side: %q, %v", tree, err)
	}
}

func TestSameFilesSameHash(t *testing.T) {
	h := start(t, githost.Config{})
	files := map[string]string{"a": "1", "b/c": "2"}
	create(t, h, "one", files)
	if _, err := h.CreateFS("two", fstest.MapFS{"a": {Data: []byte("1")}, "b/c": {Data: []byte("2")}}); err != nil {
		t.Fatal(err)
	}
	one, err1 := h.Git("one", "rev-parse", "main")
	two, err2 := h.Git("two", "rev-parse", "main")
	if err := errors.Join(err1, err2); err != nil || one != two {
		t.Errorf("one %s, two %s, %v", one, two, err)
	}
	if _, err := h.Create("one", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second repository of one name: %v", err)
	}
}

func TestEmptyRepository(t *testing.T) {
	h := start(t, githost.Config{})
	url := create(t, h, "void", nil)
	if out := mustGit(t, "", "ls-remote", url); out != "" {
		t.Errorf("refs of an empty repository:\n%s", out)
	}
}

func TestAnonymousRead(t *testing.T) {
	h := start(t, githost.Config{Token: token, AnonymousRead: true})
	url := create(t, h, "r", map[string]string{"a": "1"})
	work := filepath.Join(t.TempDir(), "work")
	mustGit(t, "", "clone", "-q", url, work)
	if out, err := git(t, work, "push", "origin", "HEAD:refs/heads/x"); err == nil {
		t.Errorf("an anonymous push worked:\n%s", out)
	}
	mustGit(t, work, "push", withToken(url), "HEAD:refs/heads/x")
}

func TestReadOnly(t *testing.T) {
	h := start(t, githost.Config{ReadOnly: true})
	url := create(t, h, "r", map[string]string{"a": "1"})
	work := filepath.Join(t.TempDir(), "work")
	mustGit(t, "", "clone", "-q", url, work)
	if out, err := git(t, work, "push", "origin", "HEAD:refs/heads/x"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("push to a read-only host: %v\n%s", err, out)
	}
}

func TestRefuse(t *testing.T) {
	h := start(t, githost.Config{})
	url := create(t, h, "r", map[string]string{"a": "1"})
	work := filepath.Join(t.TempDir(), "work")
	mustGit(t, "", "clone", "-q", url, work)
	if err := h.Refuse("r", "it's not allowed here"); err != nil {
		t.Fatal(err)
	}
	if out, err := git(t, work, "push", "origin", "HEAD:refs/heads/x"); err == nil || !strings.Contains(out, "it's not allowed here") {
		t.Errorf("push against the hook: %v\n%s", err, out)
	}
	if err := h.Refuse("r", ""); err != nil {
		t.Fatal(err)
	}
	mustGit(t, work, "push", "origin", "HEAD:refs/heads/x")
}

func TestFaults(t *testing.T) {
	h := start(t, githost.Config{})
	url := create(t, h, "r", map[string]string{"a": strings.Repeat("abc", 1000)})
	refs := url + "/info/refs?service=git-upload-pack"

	h.Fail("/info/refs", githost.Fault{Status: http.StatusTooManyRequests, Body: "later", Header: http.Header{"Retry-After": {"7"}}, Once: true})
	res := get(t, refs)
	if res.status != http.StatusTooManyRequests || res.body != "later" || res.header.Get("Retry-After") != "7" {
		t.Errorf("fault with a status: %+v", res)
	}
	if res := get(t, refs); res.status != http.StatusOK {
		t.Errorf("a fault for one request stayed: %+v", res)
	}

	h.Fail("r.git", githost.Fault{Location: "http://other.invalid/x"})
	if res := get(t, refs); res.status != http.StatusFound || res.header.Get("Location") != "http://other.invalid/x" {
		t.Errorf("redirect: %+v", res)
	}
	h.Heal()

	h.Fail("r.git", githost.Fault{CutAfter: 20})
	if res := get(t, refs); res.err == nil || len(res.body) != 20 {
		t.Errorf("cut answer: %d bytes, %v", len(res.body), res.err)
	}
}

func TestHangEndsWithTheHost(t *testing.T) {
	h, err := githost.Start(githost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h.Fail("hang", githost.Fault{Hang: true})
	done := make(chan error, 1)
	go func() {
		res, err := http.Get(h.URL() + "/hang")
		if err == nil {
			err = res.Body.Close()
		}
		done <- err
	}()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("a request that hangs was answered")
	}
	if err := h.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestRequests(t *testing.T) {
	h := start(t, githost.Config{Token: token})
	url := create(t, h, "r", map[string]string{"a": "1"})
	mustGit(t, "", "ls-remote", withToken(url))
	want := githost.Request{
		Method: http.MethodGet, Path: "/r.git/info/refs?service=git-upload-pack", Service: githost.UploadPack,
		User: "any", Password: token, Authorized: true, Status: http.StatusOK,
	}
	for _, r := range h.Requests() {
		took := r.Took
		r.Took = 0
		if cmp.Equal(want, r) && took > 0 {
			return
		}
	}
	t.Errorf("the log lacks %+v:\n%+v", want, h.Requests())
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func get(t *testing.T, url string) answer {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(url)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: string(body), err: err}
}
