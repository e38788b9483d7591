package gitops_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
)

func TestCheckURL(t *testing.T) {
	g := gitops.New(gitops.Config{})
	for _, good := range []string{
		"https://github.com/owner/repo", "https://github.com/owner/repo.git", "https://gitlab.example.com:8443/group/sub/repo.git/", "https://host/~user/r",
		"https://8.8.8.8/r", "https://[2606:4700::1111]/r", "https://git.example.com/r%20x",
	} {
		if err := g.CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "github.com/owner/repo", "git@github.com:owner/repo.git", "ssh://git@github.com/o/r", "git://github.com/o/r", "file:///etc/passwd", "/etc/passwd",
		"ext::sh -c id", "fd::3", "--upload-pack=touch", "-oProxyCommand=x", "http://github.com/o/r", "https://user@github.com/o/r", "https://u:canary-pw@github.com/o/r",
		"https://github.com", "https://github.com/", "https:///o/r", "https://-oProxy/o/r", "https://github.com/o/r?x=1", "https://github.com/o/r?", "https://github.com/o/r#f",
		"https://github.com/../r", "https://github.com/o/%2e%2e/r", "https://github.com/o/-r", "https://github.com/o/r\n", "https://github.com/o/r r", "https://github.com/o\\r",
		"https://github.com:0/o/r", "https://github.com:99999999/o/r", "https://github.com:/o/r", "https://github.com/o/%00", "https://github.com/.git", "javascript:x",
		"https://127.0.0.1/r", "https://[::1]/r", "https://[::ffff:10.0.0.1]/r", "https://169.254.169.254/latest/meta-data", "https://" + strings.Repeat("x", 3000) + "/r",
	} {
		err := g.CheckURL(bad)
		if err == nil {
			t.Errorf("%q is accepted", bad)
		} else if strings.Contains(err.Error(), "canary-pw") {
			t.Errorf("%q: the error tells the password: %v", bad, err)
		}
	}
}

func TestCheckURLAgainstTheHosts(t *testing.T) {
	g := gitops.New(gitops.Config{AllowHTTP: true, AllowedHosts: []string{"*.example.com", "127.0.0.1", "git:3000", "::1"}})
	for _, good := range []string{
		"https://git.example.com/r", "http://GIT.Example.com:8080/r", "http://127.0.0.1:99/r", "http://git:3000/r", "http://[::1]:80/r",
	} {
		if err := g.CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"https://example.com/r", "https://github.com/o/r", "http://git/r", "http://127.0.0.2/r", "https://git.example.com.evil.net/r"} {
		if err := g.CheckURL(bad); !errors.Is(err, gitops.ErrBlockedAddress) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	f.Add("https://github.com/o/r")
	f.Add("https://u:p@[::1%25eth0]:1/..%2f")
	g := gitops.New(gitops.Config{})
	f.Fuzz(func(t *testing.T, raw string) {
		owner, name := gitops.RepoName(raw)
		for _, s := range []string{owner, name} {
			if s == "" || s == "." || s == ".." || s == ".git" || strings.ContainsAny(s, "/\\\x00\n ") || s[0] == '-' {
				t.Errorf("RepoName(%q) = %q, %q", raw, owner, name)
			}
		}
		if g.CheckURL(raw) != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Hostname() == "" || u.RawQuery != "" {
			t.Errorf("%q is accepted", raw)
		}
		if !gitops.SameRepo(raw, raw) {
			t.Errorf("%q is not itself", raw)
		}
	})
}

func TestSameRepo(t *testing.T) {
	const base = "https://github.com/Owner/Repo"
	for _, same := range []string{base, base + ".git", base + "/", base + ".git/", "https://GITHUB.com:443/owner/repo"} {
		if !gitops.SameRepo(base, same) {
			t.Errorf("%s is another one", same)
		}
	}
	for _, other := range []string{"https://github.com/Owner/Other", "http://github.com/Owner/Repo", "https://gitlab.com/Owner/Repo", "https://github.com:444/Owner/Repo", "%"} {
		if gitops.SameRepo(base, other) {
			t.Errorf("%s is the same", other)
		}
	}
}

func TestRepoName(t *testing.T) {
	for raw, want := range map[string]string{
		"https://github.com/owner/repo.git":     "owner repo",
		"https://gitlab.com/group/sub/project/": "sub project",
		"https://git.example.com/solo":          "git.example.com solo",
		"https://h/o/.github":                   "o .github",
		"https://h/o/.git":                      "o repository",
		"https://h/o/a%20b":                     "o a-b",
		"https://h/%2e%2e/x":                    "host x",
	} {
		owner, name := gitops.RepoName(raw)
		if got := owner + " " + name; got != want {
			t.Errorf("RepoName(%q) = %q, want %q", raw, got, want)
		}
	}
}
