package gitops

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxBranch     = 200 // bytes; hosts and file systems stop at about 250
	maxSlug       = 50
	defaultPrefix = "aicw"
)

// ValidBranch tells what is wrong with a branch's name, in words for the person who wrote it. What it lets through
// git's check-ref-format does too, and it is not an option, a ref of another kind or a revision expression.
func ValidBranch(name string) error {
	switch {
	case name == "":
		return errors.New("the branch name is empty")
	case len(name) > maxBranch:
		return fmt.Errorf("the branch name is longer than %d bytes", maxBranch)
	case !utf8.ValidString(name):
		return errors.New("the branch name is not UTF-8")
	case strings.HasPrefix(name, "-"):
		return errors.New("the branch name begins with a dash")
	case name == "@" || name == "HEAD" || strings.HasPrefix(name, "refs/"):
		return fmt.Errorf("%q is not a branch name: give it without refs/heads/", name)
	case strings.ContainsFunc(name, forbiddenInBranch):
		return errors.New(`the branch name has a space, a control character or one of ~ ^ : ? * [ \ in it`)
	case strings.Contains(name, "..") || strings.Contains(name, "@{"):
		return errors.New("the branch name has .. or @{ in it")
	case strings.HasSuffix(name, "."):
		return errors.New("the branch name ends with a dot")
	}
	for _, element := range strings.Split(name, "/") {
		if element == "" || strings.HasPrefix(element, ".") || strings.HasSuffix(element, ".lock") {
			return errors.New("a part of the branch name is empty, begins with a dot or ends with .lock")
		}
	}
	return nil
}

func forbiddenInBranch(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r)
}

// SessionBranch is the branch of a session: <prefix>/<slug of the name>-<end of the session's ID>. It is valid whatever
// it is made of; an unusable prefix becomes "aicw".
func SessionBranch(prefix, sessionName, sessionID string) string {
	prefix = strings.Trim(prefix, "/")
	if ValidBranch(prefix+"/x") != nil || len(prefix) > maxBranch/2 {
		prefix = defaultPrefix
	}
	slug := slugOf(sessionName, maxSlug)
	if slug == "" {
		slug = "session"
	}
	if end := idEnd(sessionID); end != "" {
		slug += "-" + end
	}
	return prefix + "/" + slug
}

// idEnd is the last eight characters of an ID as a branch can end with them.
func idEnd(id string) string {
	if len(id) > 8 {
		id = id[len(id)-8:]
	}
	return strings.Trim(strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (isLower(r) || isDigit(r) || r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}, id), "-")
}

// numbered is a branch's n-th spelling: itself, then with -2, -3, … appended.
func numbered(branch string, n int) string {
	if n < 2 {
		return branch
	}
	return fmt.Sprintf("%s-%d", branch, n)
}

// hides reports whether git cannot keep both branches, because one would be a directory of the other.
func hides(a, b string) bool {
	return strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}
