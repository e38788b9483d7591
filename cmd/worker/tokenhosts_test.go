package main

import (
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
)

// tokensSeen counts the requests that brought a host any authorization.
func tokensSeen(host *githost.Host) (seen int) {
	for _, r := range host.Requests() {
		if r.Authorized {
			seen++
		}
	}
	return seen
}

// TestOwnTokenGoesToNamedHosts has two hosts that want the worker's own token, which one of them is named for.
func TestOwnTokenGoesToNamedHosts(t *testing.T) {
	named, repoURL := startGit(t)
	other, otherURL := startGit(t)
	base := with(env(t), "GITHUB_ACCESS_TOKEN", gitToken, "GIT_TOKEN_HOSTS", strings.TrimPrefix(named.URL(), "http://"))
	without := func(repoURL string) map[string]any {
		return script("echo x > x", "github", map[string]any{"repoUrl": repoURL})
	}

	startWorker(t, with(base, "GIT_TOKEN_HOSTS", "")).post(without(repoURL)).failed("git_auth_error")
	if n := tokensSeen(named); n > 0 {
		t.Errorf("%d requests brought a token to a host that is not named", n)
	}

	if done := startWorker(t, base).post(without(repoURL)).completed(); done["pushed"] != true {
		t.Errorf("the named host: %v", done)
	}
	if tokensSeen(named) == 0 {
		t.Error("the named host saw no token")
	}

	startWorker(t, base).post(without(otherURL)).failed("git_auth_error")
	named.Fail("info/refs", githost.Fault{Location: otherURL + "/info/refs?service=git-upload-pack"})
	startWorker(t, base).post(without(repoURL)).failed("clone_failed")
	if n := tokensSeen(other); n > 0 {
		t.Errorf("%d requests brought the token to the host that is not named", n)
	}

	startWorker(t, base).post(script("echo x > x", "github", github(otherURL))).completed()
	if tokensSeen(other) == 0 {
		t.Error("a request's own token did not reach its host")
	}
}
