package agentproc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
)

var (
	// ErrTooLarge says that a file is over the limit of its reading.
	ErrTooLarge = errors.New("file too large")
	// ErrNotRegular says that a path leads to something else than a regular file.
	ErrNotRegular = errors.New("not a regular file")
)

// MkdirAll makes a directory and its missing parents, with mode 0700, as the agent.
func (a *Agent) MkdirAll(ctx context.Context, path string) error {
	return a.file(ctx, "mkdir", path, a.Helper(mkdirHelper, path))
}

// RemoveAll removes a file or a directory with all that is in it, as the agent, also from directories that the agent
// has write-protected. A path that does not exist is no error.
func (a *Agent) RemoveAll(ctx context.Context, path string) error {
	return a.file(ctx, "remove", path, a.Helper(removeHelper, path))
}

// ReadFile reads a regular file as the agent. Errors are *fs.PathError with fs.ErrNotExist, fs.ErrPermission,
// ErrNotRegular or, for a file of more than limit bytes, ErrTooLarge.
func (a *Agent) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	out := &limited{left: limit}
	cmd := a.Helper(readHelper, path, strconv.FormatInt(limit, 10))
	cmd.Stdout = out
	if err := a.file(ctx, "read", path, cmd); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// WriteFile writes a file as the agent, with the given permissions. A file that exists is replaced at once and
// only by the whole of r: an error leaves it as it was. Its directory must exist.
func (a *Agent) WriteFile(ctx context.Context, path string, perm fs.FileMode, r io.Reader) error {
	cmd := a.Helper(writeHelper, path, strconv.FormatUint(uint64(perm.Perm()), 8))
	cmd.Stdin = r
	return a.file(ctx, "write", path, cmd)
}

// file runs a helper for a file; what the helper's exit status says becomes an error again.
func (a *Agent) file(ctx context.Context, op, path string, cmd *Cmd) error {
	if !filepath.IsAbs(path) {
		return &fs.PathError{Op: op, Path: path, Err: fs.ErrInvalid}
	}
	err := cmd.Run(ctx)
	var exit *ExitError
	if !errors.As(err, &exit) {
		return pathError(op, path, err)
	}
	if known := errorOf(exit.Code); known != nil {
		return pathError(op, path, known)
	}
	return fmt.Errorf("%s %s: %w", op, path, err)
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// fileErrors are the errors that a helper's exit status can carry: the first is firstFileStatus, and so on.
var fileErrors = []error{fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, ErrTooLarge, ErrNotRegular}

const firstFileStatus = 40

// fileError is a file helper's error with the exit status that carries it.
type fileError struct {
	error
	status int
}

func (e *fileError) Unwrap() error { return e.error }

// carried gives an error the exit status of its kind.
func carried(err error) error {
	for i, known := range fileErrors {
		if errors.Is(err, known) {
			return &fileError{error: err, status: firstFileStatus + i}
		}
	}
	return err
}

// helperStatus returns the exit status of a helper that returned err.
func helperStatus(err error) int {
	var file *fileError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &file):
		return file.status
	}
	return 1
}

func errorOf(status int) error {
	if i := status - firstFileStatus; i >= 0 && i < len(fileErrors) {
		return fileErrors[i]
	}
	return nil
}

// limited is a buffer that takes no more than the limit, whatever the helper's process was made to send.
type limited struct {
	bytes.Buffer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, ErrTooLarge
	}
	return l.Buffer.Write(p)
}

// ReadFrom hides the buffer's own, which knows no limit.
func (l *limited) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{l}, r)
}
