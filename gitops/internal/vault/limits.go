package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
)

// ErrLimit says that a repository, or what comes from a checkout, is beyond a limit.
var ErrLimit = errors.New("it is beyond this worker's limits")

// Limits bound what a repository may take. None may be 0.
type Limits struct {
	Bytes  int64 // of a pack, and of the files that a commit unpacks to
	Files  int   // that a commit unpacks to
	Memory int64 // that a git may allocate
}

// capped is a pack that ends with an error where it becomes longer than it may.
type capped struct {
	io.Reader
	limit  int64
	read   int64
	beyond atomic.Bool
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.read += int64(n); c.read > c.limit {
		c.beyond.Store(true)
		return 0, c.err()
	}
	return n, err
}

func (c *capped) err() error {
	return fmt.Errorf("%w: more than %s to transfer", ErrLimit, size(c.limit))
}

// Measure finds out, without unpacking anything, whether the files of a commit keep within the limits. A small pack can
// hold a tree with more files than there is room for.
func (v *Vault) Measure(ctx context.Context, commit string, limits Limits) error {
	if err := checkHashes([]string{commit}); err != nil {
		return fmt.Errorf("measure the files: %w", err)
	}
	c := &census{limits: limits}
	err := v.run(ctx, command{args: []string{"ls-tree", "-r", "-l", "-z", commit}, stdout: c})
	switch {
	case c.err != nil:
		return c.err
	case err != nil:
		return fmt.Errorf("measure the files: %w", err)
	}
	return nil
}

// census counts the entries of a tree as git lists them: mode, type, name of the object, size, a tab and the path.
type census struct {
	limits Limits
	rest   []byte
	files  int
	bytes  int64
	err    error
}

func (c *census) Write(p []byte) (int, error) {
	c.rest = append(c.rest, p...)
	for c.err == nil {
		entry, rest, whole := bytes.Cut(c.rest, []byte{0})
		if !whole {
			c.rest = append([]byte(nil), c.rest...) // nothing of what was counted is kept
			return len(p), nil
		}
		c.rest = rest
		c.count(entry)
	}
	return 0, c.err
}

func (c *census) count(entry []byte) {
	meta, _, _ := bytes.Cut(entry, []byte{'\t'})
	fields := bytes.Fields(meta)
	c.files++
	if len(fields) == 4 {
		n, _ := strconv.ParseInt(string(fields[3]), 10, 64) // "-" for other repositories
		c.bytes += n
	}
	switch {
	case c.files > c.limits.Files:
		c.err = fmt.Errorf("%w: it has more than %d files", ErrLimit, c.limits.Files)
	case c.bytes > c.limits.Bytes:
		c.err = fmt.Errorf("%w: its files have more than %s", ErrLimit, size(c.limits.Bytes))
	}
}

// size writes a number of bytes for people.
func size(n int64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
