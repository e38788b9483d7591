package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

// files lists a session's saved workspace, one line for each entry, as it comes.
func (a *app) files(ctx context.Context, id string) error {
	return a.ask(ctx, func(ctx context.Context, c *client.Client) error {
		out := bufio.NewWriter(a.stdout)
		err := c.Files(ctx, id, func(f client.File) error {
			line := fileLine(f)
			if a.json {
				line = oneLine(f.Raw)
			}
			_, err := fmt.Fprintln(out, line)
			return err
		})
		return errors.Join(err, out.Flush())
	})
}

// fileKinds are the letters that ls gives them.
var fileKinds = map[string]string{"directory": "d", "symlink": "l"}

// fileLine is an entry as ls -l shows it. Names are the agent's, and one line each: what does something instead of being
// seen is quoted.
func fileLine(f client.File) string {
	kind := fileKinds[f.Type]
	if kind == "" {
		kind = "-"
	}
	line := fmt.Sprintf("%s%s %10d  %s  %s", kind, permissions(f.Mode), f.Size, f.ModifiedAt.UTC().Format("2006-01-02 15:04"), fileName(f.Path))
	switch {
	case f.Type == "directory":
		return line + "/"
	case f.Target == "":
		return line
	case f.Type == "symlink":
		return line + " -> " + fileName(f.Target)
	default:
		return line + " = " + fileName(f.Target)
	}
}

// permissions writes octal bits as letters.
func permissions(octal string) string {
	bits, err := strconv.ParseUint(octal, 8, 9)
	if err != nil {
		return "?????????"
	}
	letters := []byte("rwxrwxrwx")
	for i := range letters {
		if bits&(1<<(len(letters)-1-i)) == 0 {
			letters[i] = '-'
		}
	}
	return string(letters)
}

func fileName(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
