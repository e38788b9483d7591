package storage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"time"
)

// write makes a new file beside the objects, and moves it into its place if check agrees to the current version (empty:
// none). The lock is held for the last step only, so a slow reader stops nobody.
func (d *Dir) write(ctx context.Context, name string, r io.Reader, check func(current string) error) (version string, err error) {
	temp, err := d.createTemp()
	if err != nil {
		return "", err
	}
	defer d.removeTemp(temp)
	if _, err := io.Copy(temp.file, r); err != nil {
		return "", err
	}
	if err := temp.file.Sync(); err != nil {
		return "", err
	}
	unlock, err := d.lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	current, err := d.root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = check("")
	case err == nil:
		err = check(dirInfo(name, current).Version)
	}
	if err != nil {
		return "", err
	}
	return d.replace(temp, name, current)
}

// replace moves a written file to its name. Its modification time is made to differ from that of the file before it,
// which may lie within the same tick of the clock: together with the inode, which differs from the predecessor's, it is
// the version. The random part keeps versions apart across a deletion, after which an inode may come again.
func (d *Dir) replace(temp tempFile, name string, current fs.FileInfo) (version string, err error) {
	stat, err := temp.file.Stat()
	if err != nil {
		return "", err
	}
	stamp := stat.ModTime().Add(rand.N(time.Millisecond))
	if current != nil && !stamp.After(current.ModTime()) {
		stamp = current.ModTime().Add(time.Nanosecond)
	}
	if err := d.root.Chtimes(temp.name, stamp, stamp); err != nil {
		return "", err
	}
	if stat, err = temp.file.Stat(); err != nil {
		return "", err
	}
	if err := d.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return "", err
	}
	if err := d.root.Rename(temp.name, name); err != nil {
		return "", err
	}
	return dirInfo(name, stat).Version, nil
}
