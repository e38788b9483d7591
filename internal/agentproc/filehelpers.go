package agentproc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	mkdirHelper  = "agentproc/mkdir"
	removeHelper = "agentproc/remove"
	readHelper   = "agentproc/read"
	writeHelper  = "agentproc/write"
	probeHelper  = "agentproc/probe"
)

// fileHelpers are the helpers behind the Agent's methods for files. Their arguments were made by those methods.
func fileHelpers() []Helper {
	helpers := []Helper{
		{Name: mkdirHelper, Run: func(args []string, _ io.Reader, _ io.Writer) error {
			return os.MkdirAll(args[0], 0o700)
		}},
		{Name: removeHelper, Run: func(args []string, _ io.Reader, _ io.Writer) error {
			return removeAll(args[0])
		}},
		{Name: readHelper, Run: func(args []string, _ io.Reader, stdout io.Writer) error {
			return sendFile(args[0], args[1], stdout)
		}},
		{Name: writeHelper, Run: func(args []string, stdin io.Reader, _ io.Writer) error {
			return replaceFile(args[0], args[1], stdin)
		}},
		{Name: probeHelper, Run: func(args []string, _ io.Reader, _ io.Writer) error {
			return probeDir(args[0])
		}},
	}
	for i, h := range helpers {
		helpers[i].Run = func(args []string, stdin io.Reader, stdout io.Writer) error {
			return carried(h.Run(args, stdin, stdout))
		}
	}
	return helpers
}

// removeAll is os.RemoveAll, but directories that their owner has write-protected are no obstacle.
func removeAll(path string) error {
	if filepath.Clean(path) == "/" {
		return fs.ErrPermission
	}
	if err := os.RemoveAll(path); err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	unlock := func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // before WalkDir reads it; what it did not help RemoveAll reports
		}
		return nil
	}
	if err := filepath.WalkDir(path, unlock); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// sendFile copies a regular file to w. It opens without waiting, as a FIFO would have it wait for a writer.
func sendFile(path, limit string, w io.Writer) error {
	most, err := strconv.ParseInt(limit, 10, 64)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return ErrNotRegular
	}
	if info.Size() > most {
		return ErrTooLarge
	}
	_, err = io.Copy(w, f) // a file that grows meanwhile is the reader's to refuse
	return err
}

// replaceFile writes beside the file and renames, so that neither a link nor a FIFO in its place is written through.
func replaceFile(path, perm string, r io.Reader) error {
	mode, err := strconv.ParseUint(perm, 8, 32)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".aicw-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Chmod(fs.FileMode(mode)), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// probeDir tells whether this process's user can make files in a directory.
func probeDir(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %w", path, unix.ENOTDIR)
	}
	return unix.Access(path, unix.W_OK|unix.X_OK|unix.R_OK)
}
