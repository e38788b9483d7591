package httpapi

import (
	"strings"
	"unicode"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// repo is the request's github object, which may be on any host; nil where there is none.
func (r *request) repo(checkURL func(string) error) *orchestrator.Repo {
	o, ok := r.object.object("github")
	if !ok {
		return nil
	}
	o.only("repoUrl", "branch", "directory", "accessToken", "refreshToken")
	repo := &orchestrator.Repo{
		URL: o.text("repoUrl"), Branch: o.text("branch"), Directory: o.text("directory"),
		Token: secret.New(checkToken(o, "accessToken")),
	}
	checkToken(o, "refreshToken")
	if repo.URL == "" {
		o.refuse("repoUrl", "is required in github")
	} else if err := checkURL(repo.URL); err != nil {
		o.refuse("repoUrl", "%v", err)
	}
	if err := gitops.ValidBranch(repo.Branch); repo.Branch != "" && err != nil {
		o.refuse("branch", "%v", err)
	}
	if repo.Directory != "" && !cleanElement(repo.Directory) {
		o.refuse("directory", `must be the plain name of one folder: no slash, not "." or "..", no dash in front, at most 255 bytes`)
	}
	return repo
}

// cleanElement reports whether a name is one element of a path, and can be taken for nothing else.
func cleanElement(name string) bool {
	return len(name) <= 255 && name != "." && name != ".." && !strings.EqualFold(name, ".git") && !strings.HasPrefix(name, "-") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == '\\' || unicode.IsControl(r) })
}

// checkToken reads a token, which must be fit to stand in a header: printable, without spaces, of a sane length.
func checkToken(o object, key string) string {
	const most = 16 << 10
	token := o.text(key)
	if len(token) > most {
		o.refuse(key, "is longer than %d bytes", most)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= unicode.MaxASCII }) {
		o.refuse(key, "has a character that no token has: a space, a line break or one outside ASCII")
	}
	return token
}
