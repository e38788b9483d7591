package snapshot_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// past is a modification time with all its nanoseconds.
var past = time.Date(2021, 3, 4, 5, 6, 7, 123456789, time.UTC)

// oddNames are legal on Linux, all of them.
var oddNames = []string{
	"new\nline", "inv\xff\xfealid", " ", "-rf", "back\\slash", "é", "e\u0301", "tab\t", "...", "*", strings.Repeat("n", 255),
}

// grow makes a workspace below dir with everything that has to survive, and nothing that cannot.
func grow(dir string) error {
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	at := func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	write := func(path, data string, mode fs.FileMode) {
		try(os.MkdirAll(filepath.Dir(path), 0o700))
		try(os.WriteFile(path, []byte(data), 0o600))
		try(os.Chmod(path, mode))
		try(os.Chtimes(path, time.Time{}, past))
	}
	write(at("checkout", "repo", "main.go"), "package main\n", 0o644)
	write(at("checkout", "repo", "run.sh"), "#!/bin/sh\n", 0o755)
	write(at("checkout", "repo", "closed"), "mode 0000", 0)
	write(at("checkout", "repo", "empty"), "", 0o600)
	write(at("checkout", "repo", "big"), strings.Repeat("0123456789abcdef", 1<<16), 0o640)
	write(at("checkout", "repo", "auth.json"), "the repository's own", 0o600)
	write(at("home", ".claude", "projects", "a", "s.jsonl"), "{}\n", 0o600)
	write(at("home", ".profile"), "not included", 0o600)
	for _, name := range oddNames {
		write(at("checkout", "odd", name), name, 0o600)
	}
	write(at("checkout", strings.Repeat("deep/", 100)+"file"), "deep", 0o600)

	try(os.Symlink("/etc/passwd", at("checkout", "repo", "absolute")))
	try(os.Symlink("../../..", at("checkout", "repo", "up")))
	try(os.Symlink("no\xffwhere", at("checkout", "repo", "dangling")))
	try(os.Symlink("self", at("checkout", "repo", "self")))
	try(os.Link(at("checkout", "repo", "main.go"), at("checkout", "repo", "second name")))
	try(os.Link(at("checkout", "repo", "main.go"), at("home", ".claude", "projects", "third name")))
	try(sparse(at("checkout", "repo", "sparse"), 64<<20))

	for _, mode := range []fs.FileMode{0o700, 0o500, 0} {
		name := at("checkout", fmt.Sprintf("dir-%o", mode))
		write(filepath.Join(name, "inside"), "x", 0o400)
		try(os.Mkdir(filepath.Join(name, "empty"), 0o711))
		try(os.Chtimes(name, time.Time{}, past))
		try(os.Chmod(name, mode))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// sparse makes a file of the given size with a word at its start and in its middle, and holes around.
func sparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, at := range []int64{0, size / 2} {
		if _, err := f.WriteAt([]byte("word"), at); err != nil {
			return err
		}
	}
	return f.Truncate(size)
}

// describe tells everything below dir, one line for each path: kind, permission bits, time, content or target, and which path
// had the same inode before. It looks into closed files and directories too, and leaves them as they were.
func describe(dir string) (map[string]string, error) {
	lines, seen := map[string]string{}, map[uint64]string{}
	var closed []func()
	defer func() {
		for _, undo := range slices.Backward(closed) { // a directory after what is in it
			undo()
		}
	}()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if mode := info.Mode(); mode&fs.ModeSymlink == 0 && mode&0o500 != 0o500 {
			closed = append(closed, func() { _ = os.Chmod(path, mode) })
			if err := os.Chmod(path, mode|0o500); err != nil {
				return err
			}
		}
		name := fmt.Sprintf("%q", strings.TrimPrefix(path, dir))
		lines[name] = describeOne(path, name, info, seen)
		return nil
	})
	return lines, err
}

func describeOne(path, name string, info fs.FileInfo, seen map[uint64]string) string {
	line := info.Mode().String() + " " + info.ModTime().UTC().Format(time.RFC3339Nano)
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		return fmt.Sprintf("%s -> %q %v", line, target, err)
	case 0:
		data, err := os.ReadFile(path)
		line += fmt.Sprintf(" %d bytes %.8x %v", len(data), sha256.Sum256(data), err)
		stat := info.Sys().(*syscall.Stat_t)
		if first, ok := seen[stat.Ino]; ok {
			return line + " as " + first
		}
		seen[stat.Ino] = name
	}
	return line
}
