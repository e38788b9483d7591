package remote_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/remote"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const token = "canary-remote-77aa10"

func host(t *testing.T) *githost.Host {
	t.Helper()
	h, err := githost.Start(githost.Config{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if _, err := h.Create("r", map[string]string{"a": strings.Repeat("text ", 1000)}); err != nil {
		t.Fatal(err)
	}
	return h
}

func client(stall time.Duration) *remote.Client {
	return remote.NewClient(remote.Policy{AllowHTTP: true, AllowedHosts: []string{"127.0.0.1", "*.test", "git*"}}, stall)
}

func TestListing(t *testing.T) {
	h := host(t)
	main, err := h.Git("r", "rev-parse", "main")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Git("r", "tag", "-a", "-m", "x", "v1"); err != nil {
		t.Fatal(err)
	}
	got, err := client(0).List(t.Context(), remote.Repo{URL: h.CloneURL("r"), Token: secret.New(token)})
	if err != nil {
		t.Fatal(err)
	}
	if got.Default != "main" || len(got.Branches) != 1 || got.Branches["main"] != main || len(got.Tips) != 2 {
		t.Errorf("listing: %+v", got)
	}
}

// TestHostThatWantsMultiAck clones from a host that serves nobody without that capability, as Azure DevOps and AWS
// CodeCommit are, and then fetches what is new there.
func TestHostThatWantsMultiAck(t *testing.T) {
	h := host(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method == http.MethodPost && !bytes.Contains(body, []byte(" multi_ack")) {
			http.Error(w, "TF401041: Clients must support multi-ack.", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	repo := remote.Repo{URL: server.URL + "/r.git", Token: secret.New(token)}
	first, err := h.Git("r", "rev-parse", "main")
	if err != nil {
		t.Fatal(err)
	}
	// A commit, its tree, and the file; the second time the host has to see that the first commit is here.
	for _, want := range []remote.Want{{Branch: "main", Depth: 1}, {Branch: "main", Haves: []string{first}, Shallows: []string{first}}} {
		err := client(0).Fetch(t.Context(), repo, want, func(f remote.Fetched) error {
			pack, err := io.ReadAll(f.Pack)
			if err == nil && (!bytes.HasPrefix(pack, []byte("PACK")) || binary.BigEndian.Uint32(pack[8:]) != 3) {
				t.Errorf("the pack of %+v begins with %q", want, pack[:min(len(pack), 12)])
			}
			return err
		})
		if err != nil {
			t.Errorf("%+v: %v", want, err)
		}
		if _, err := h.Commit("r", "main", "more", map[string]string{"b": "1"}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSilenceInTheMiddle reads a pack from a host that stops sending, and waits longer than the stall by itself before
// it does.
func TestSilenceInTheMiddle(t *testing.T) {
	h := host(t)
	h.Fail("/git-upload-pack", githost.Fault{SlowBy: time.Hour})
	err := client(100*time.Millisecond).Fetch(t.Context(), remote.Repo{URL: h.CloneURL("r"), Token: secret.New(token)},
		remote.Want{Branch: "main", Depth: 1}, func(f remote.Fetched) error {
			_, err := io.Copy(io.Discard, f.Pack)
			return err
		})
	if !errors.Is(err, remote.ErrUnreachable) || !strings.Contains(err.Error(), "silent") {
		t.Errorf("fetch: %v", err)
	}
}

func TestErrorOfTheReceiver(t *testing.T) {
	h := host(t)
	own := errors.New("no room")
	r := remote.Repo{URL: h.CloneURL("r"), Token: secret.New(token)}
	err := client(0).Fetch(t.Context(), r, remote.Want{Branch: "main", Depth: 1}, func(remote.Fetched) error { return own })
	if !errors.Is(err, own) || errors.Is(err, remote.ErrUnreachable) {
		t.Errorf("fetch: %v", err)
	}
	err = client(0).Fetch(t.Context(), r, remote.Want{Branch: "nope"}, func(remote.Fetched) error { return nil })
	if !errors.Is(err, remote.ErrNoBranch) {
		t.Errorf("fetch of a missing branch: %v", err)
	}
}

// TestUserNames sends requests for several hosts to one server and looks at the user name that each gets.
func TestUserNames(t *testing.T) {
	want := map[string]string{
		"github.com": "x-access-token", "gitlab.com": "oauth2", "gitlab.corp.test": "oauth2", "bitbucket.org": "x-token-auth", "git.corp.test": "x-access-token",
	}
	for host, user := range want {
		if got := remote.UserFor(host); got != user {
			t.Errorf("%s gets %s, want %s", host, got, user)
		}
	}
}

func TestTooManyReferences(t *testing.T) {
	line := []byte("003f" + strings.Repeat("a", 40) + " refs/heads/0123456789\n")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 70 << 20 / len(line) {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	_, err := client(0).List(t.Context(), remote.Repo{URL: server.URL + "/r"})
	if !errors.Is(err, remote.ErrUnreachable) || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("list: %v", err)
	}
}

// TestRejections pins how git words what cannot be told from anything but words.
func TestRejections(t *testing.T) {
	h := host(t)
	r := remote.Repo{URL: h.CloneURL("r"), Token: secret.New(token)}
	pusher, _, err := client(0).OpenPush(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	const empty = "PACK\x00\x00\x00\x02\x00\x00\x00\x00\x02\x9d\x08\x82\x3b\xd8\xa8\xea\xb5\x10\xad\x6a\xc7\x5c\x82\x3c\xfd\x3e\xd3\x1e"
	err = pusher.Send(t.Context(), remote.Update{
		Branch: "x", New: strings.Repeat("1", 40), Pack: strings.NewReader(empty), Size: int64(len(empty)),
	})
	var rejection *remote.Rejection
	if !errors.As(err, &rejection) || !rejection.Links {
		t.Errorf("a push of a missing commit: %v", err)
	}
	err = pusher.Send(t.Context(), remote.Update{
		Branch: "x", New: strings.Repeat("1", 40), Pack: strings.NewReader("junk"), Size: 4,
	})
	if !errors.As(err, &rejection) && !errors.Is(err, remote.ErrUnreachable) {
		t.Errorf("a push of junk: %v", err)
	}
}

// TestEndlessAnswerToAPush answers with what hooks print, without an end.
func TestEndlessAnswerToAPush(t *testing.T) {
	h := host(t)
	line := "1000\x02" + strings.Repeat("x", 0x1000-5)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			h.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, line); err != nil {
				return
			}
		}
	}))
	defer server.Close() // waits for the answer to be left
	pusher, listing, err := client(0).OpenPush(t.Context(), remote.Repo{URL: server.URL + "/r.git", Token: secret.New(token)})
	if err != nil {
		t.Fatal(err)
	}
	err = pusher.Send(t.Context(), remote.Update{Branch: "x", New: listing.Branches["main"], Pack: strings.NewReader("")})
	if !errors.Is(err, remote.ErrUnreachable) || !strings.Contains(err.Error(), "longer than 16 MiB") {
		t.Errorf("push: %v", err)
	}
}
