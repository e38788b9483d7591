package gitops

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// changes counts the files of git's raw diff with NULs, and finds nested repositories: of those a commit holds only the
// name of theirs. It keeps nothing else.
type changes struct {
	rest  []byte
	files int
	notes []string
}

func (c *changes) Write(p []byte) (int, error) {
	c.rest = append(c.rest, p...)
	for {
		modes, rest, _ := bytes.Cut(c.rest, []byte{0})
		path, rest, whole := bytes.Cut(rest, []byte{0})
		if !whole {
			c.rest = slices.Clone(c.rest)
			return len(p), nil
		}
		c.rest = rest
		c.count(strings.Fields(string(modes)), string(path))
	}
}

func (c *changes) count(modes []string, path string) {
	c.files++
	switch {
	case len(modes) < 2 || modes[1] != modeGitlink || len(c.notes) >= maxNotes:
	case modes[0] == ":"+modeGitlink:
		c.notes = append(c.notes, fmt.Sprintf("%s is a submodule, and at another commit now: what was committed in it is not pushed", words(path)))
	default:
		c.notes = append(c.notes, fmt.Sprintf("%s is a repository of its own: its files are not in the commit", words(path)))
	}
}
