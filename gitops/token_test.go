package gitops_test

import (
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
)

func TestTokenHosts(t *testing.T) {
	hosts := gitops.TokenHosts{"github.com", "git.example.com", "127.0.0.1:3000", "[2001:db8::1]:8443", "2001:db8::2", "plain.example.com:80"}
	for _, allowed := range []string{
		"https://github.com/o/r", "https://GitHub.com:443/o/r.git", "https://git.example.com/r", "http://127.0.0.1:3000/r", "https://127.0.0.1:3000/r",
		"https://[2001:db8::1]:8443/r", "https://[2001:db8::2]/r", "http://plain.example.com/r",
	} {
		if !hosts.Allow(allowed) {
			t.Errorf("the token may not go to %s", allowed)
		}
	}
	for _, refused := range []string{
		"http://github.com/o/r", "http://github.com:443/o/r", "https://github.com:8443/o/r", "https://gist.github.com/o/r", "https://github.com.evil.net/o/r",
		"https://evilgithub.com/o/r", "https://github.com./o/r", "https://evil.net/github.com", "https://evil.net/#@github.com/o/r", "https://github.com@evil.net/o/r",
		"https://evil.net@github.com/o/r", "https://git.example.com:3000/r", "https://other.example.com/r", "http://127.0.0.1/r", "http://127.0.0.1:3001/r",
		"https://plain.example.com/r", "https://[2001:db8::2]:8443/r", "//github.com/o/r", "github.com/o/r", "", "https://%zz",
	} {
		if hosts.Allow(refused) {
			t.Errorf("the token may go to %s", refused)
		}
	}
	if (gitops.TokenHosts{}).Allow("https://github.com/o/r") {
		t.Error("no hosts allow one")
	}
}

func TestCheckTokenHost(t *testing.T) {
	for _, good := range []string{"github.com", "git", "git.example.com:8443", "127.0.0.1", "127.0.0.1:3000", "::1", "[::1]", "[::1]:3000"} {
		if err := gitops.CheckTokenHost(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "*", "*.example.com", "git?.example.com", "[ab].example.com", "https://github.com", "github.com/o", "me@github.com", "a b", ".github.com", "github.com.",
		"host:", "host:0", "host:65536", "host:http", ":443", "[::1", "::1:x",
	} {
		if gitops.CheckTokenHost(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
