package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// dirInternal is the folder of a directory store's own files; no object can have it as the first element of its key.
const dirInternal = ".store"

const (
	dirTemp  = dirInternal + "/tmp"
	dirLocks = dirInternal + "/locks"
)

// Dir is a Store in a directory, for one machine: each object is a file of the same name.
type Dir struct {
	root *os.Root
}

// NewDir opens a directory store and makes the directory if it is missing. It also removes what killed processes have
// left half written. Any number of processes may use the directory at the same moment, if its file system has flock and
// timestamps finer than a microsecond, as every local one of Linux does; NewDir refuses one that has not.
func NewDir(dir string) (*Dir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open directory store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory store: %w", err)
	}
	d := &Dir{root: root}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open directory store %s: %w", dir, err), root.Close())
	}
	return d, nil
}

func (d *Dir) prepare() error {
	for _, dir := range []string{dirTemp, dirLocks} {
		if err := d.root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := d.checkTimestamps(); err != nil {
		return err
	}
	return d.removeLeftovers()
}

var errCoarse = errors.New("its file system keeps timestamps too coarse to tell versions apart")

func (d *Dir) checkTimestamps() error {
	probe, err := d.createTemp()
	if err != nil {
		return err
	}
	defer d.removeTemp(probe)
	want := time.Unix(1_700_000_000, 123_456_700)
	if err := d.root.Chtimes(probe.name, want, want); err != nil {
		return err
	}
	info, err := d.root.Stat(probe.name)
	if err == nil && !info.ModTime().Equal(want) {
		err = errCoarse
	}
	return err
}

// Get implements Store.
func (d *Dir) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	name, err := dirName(ctx, key)
	if err != nil {
		return nil, Info{}, err
	}
	file, err := d.root.Open(name)
	if err != nil {
		return nil, Info{}, d.missing("get", key, err)
	}
	info, err := d.describe(key, file)
	if err != nil {
		return nil, Info{}, errors.Join(d.missing("get", key, err), file.Close())
	}
	return &dirReader{ctx: ctx, file: file}, info, nil
}

// describe tells of an open object, its age against a file that is made now.
func (d *Dir) describe(key string, file *os.File) (Info, error) {
	stat, err := file.Stat()
	if err != nil {
		return Info{}, err
	}
	if !stat.Mode().IsRegular() {
		return Info{}, fs.ErrNotExist
	}
	now, err := d.clock()
	if err != nil {
		return Info{}, err
	}
	info := dirInfo(key, stat)
	info.Age = max(0, now.Sub(stat.ModTime()))
	return info, nil
}

// clock is the file system's time, which need not be this machine's.
func (d *Dir) clock() (time.Time, error) {
	probe, err := d.createTemp()
	if err != nil {
		return time.Time{}, err
	}
	defer d.removeTemp(probe)
	stat, err := probe.file.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return stat.ModTime(), nil
}

// Put implements Store.
func (d *Dir) Put(ctx context.Context, key string, r io.Reader) error {
	name, err := dirName(ctx, key)
	if err != nil {
		return err
	}
	src, stop := newSource(ctx, r)
	defer stop()
	_, err = d.write(ctx, name, src, func(string) error { return nil })
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("put %s: %w", key, context.Cause(ctx))
	case src.err != nil:
		return fmt.Errorf("put %s: read its content: %w", key, src.err)
	}
	return d.error("put", key, err)
}

// PutIf implements Store.
func (d *Dir) PutIf(ctx context.Context, key string, data []byte, cond Condition) (string, error) {
	name, err := dirName(ctx, key)
	if err != nil {
		return "", err
	}
	version, err := d.write(ctx, name, bytes.NewReader(data), func(current string) error {
		switch {
		case cond != IfAbsent && current == "":
			return ErrNotFound
		case string(cond) != current:
			return ErrConflict
		}
		return nil
	})
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("put %s: %w", key, context.Cause(ctx))
	}
	if err != nil {
		return "", d.error("put", key, err)
	}
	return version, nil
}

// Stat implements Store.
func (d *Dir) Stat(ctx context.Context, key string) (Info, error) {
	name, err := dirName(ctx, key)
	if err != nil {
		return Info{}, err
	}
	stat, err := d.root.Stat(name)
	if err == nil && !stat.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Info{}, d.missing("stat", key, err)
	}
	return dirInfo(key, stat), nil
}

// Delete implements Store. Folders that become empty go too.
func (d *Dir) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		name, err := dirName(ctx, key)
		if err != nil {
			return err
		}
		if err := d.remove(ctx, name); err != nil {
			return d.error("delete", key, err)
		}
	}
	return nil
}

func (d *Dir) remove(ctx context.Context, name string) error {
	unlock, err := d.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	err = d.root.Remove(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if d.root.Remove(dir) != nil {
			break
		}
	}
	return nil
}

// dirName turns a key into a path below the root.
func dirName(ctx context.Context, key string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err := CheckKey(key); err != nil {
		return "", err
	}
	if key == dirInternal || strings.HasPrefix(key, dirInternal+"/") {
		return "", fmt.Errorf("storage key %q is not allowed: it is the directory store's own", key)
	}
	return filepath.Localize(key)
}

func dirInfo(key string, stat fs.FileInfo) Info {
	var inode uint64
	if sys, ok := stat.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	version := fmt.Sprintf("%x-%x-%x", inode, stat.ModTime().UnixNano(), stat.Size())
	return Info{Key: key, Size: stat.Size(), Version: version}
}

// error tells apart what is missing, what is refused for good, and what may pass: a full disk, or one that has gone.
func (d *Dir) error(verb, key string, err error) error {
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrConflict), errors.Is(err, ErrUnavailable):
		return fmt.Errorf("%s %s: %w", verb, key, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrExist),
		errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s %s: %w", verb, key, err)
	}
	return fmt.Errorf("%s %s: %w: %w", verb, key, ErrUnavailable, err)
}

// missing is what an object that could not be opened means: none, unless the whole store is gone.
func (d *Dir) missing(verb, key string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return d.error(verb, key, err)
	}
	if _, err := d.root.Stat(dirTemp); err != nil {
		return d.error(verb, key, err)
	}
	return fmt.Errorf("%s %s: %w", verb, key, ErrNotFound)
}

// dirReader ends with its context.
type dirReader struct {
	ctx  context.Context
	file *os.File
}

func (r *dirReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.file.Read(p)
}

func (r *dirReader) Close() error { return r.file.Close() }
