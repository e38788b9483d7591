package snapshot

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const holeSize = 4096 // a block of zeros becomes a hole in multiples of this

var noZeros [bufferSize]byte

type unpacker struct {
	root   *os.Root
	limits limits
	made   []directory     // in order, parents first
	dirs   map[string]bool // their paths
	open   *os.Root        // the parent of the last entry, at path
	at     *os.File        // the same, for what os.Root would do in more system calls
	path   string
	buf    []byte
	done   unpacked
}

// directory keeps what a directory gets at the end, when nothing needs to be written into it any more.
type directory struct {
	path  string
	mode  fs.FileMode
	mtime time.Time
}

// unpack fills root from the archive. The error is ErrCorrupt, wrapped, when the archive is at fault. Each entry needs its parent to
// be a directory of this same archive, and everything is done through root besides.
func unpack(root *os.Root, l limits, archive io.Reader) (unpacked, error) {
	u := &unpacker{root: root, limits: l, dirs: map[string]bool{}, buf: make([]byte, bufferSize)}
	defer u.leave()
	if err := walk(archive, l, u.entry); err != nil {
		return u.done, err
	}
	return u.done, u.finish()
}

func (u *unpacker) entry(h *tar.Header, name string, r io.Reader) error {
	dir, base, err := u.enter(name)
	if err != nil {
		return err
	}
	if err := u.put(r, h, dir, name, base); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return corrupt("%s is there twice: %w", shown(name), err)
		}
		return fmt.Errorf("unpack %s: %w", shown(name), err)
	}
	return nil
}

// put makes one entry; an error that is no ErrCorrupt is the file system's.
func (u *unpacker) put(r io.Reader, h *tar.Header, dir *os.Root, name, base string) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(h, dir, name, base)
	case tar.TypeReg:
		return u.file(r, h, base)
	case tar.TypeSymlink:
		return u.symlink(h, dir, base)
	case tar.TypeLink:
		return u.link(h, name)
	default:
		return corrupt("of the kind %q, which is never saved", h.Typeflag)
	}
}

// enter opens the directory of an entry. The last one stays open: most entries lie beside the one before.
func (u *unpacker) enter(name string) (*os.Root, string, error) {
	parent, base := path.Split(name)
	parent = path.Clean(parent)
	if parent != "." && !u.dirs[parent] {
		return nil, "", corrupt("%s lies in no directory of the archive", shown(name))
	}
	if u.open != nil && u.path == parent {
		return u.open, base, nil
	}
	u.leave()
	dir, err := u.root.OpenRoot(parent)
	if err != nil {
		return nil, "", fmt.Errorf("open %s: %w", shown(parent), err)
	}
	at, err := dir.Open(".")
	if err != nil {
		closeQuietly(dir)
		return nil, "", fmt.Errorf("open %s: %w", shown(parent), err)
	}
	u.open, u.at, u.path = dir, at, parent
	return dir, base, nil
}

func (u *unpacker) leave() {
	if u.open != nil {
		closeQuietly(u.at)
		closeQuietly(u.open)
		u.open, u.at = nil, nil
	}
}

func (u *unpacker) directory(h *tar.Header, dir *os.Root, name, base string) error {
	if u.dirs[name] {
		return fs.ErrExist
	}
	err := dir.Mkdir(base, 0o700)
	if errors.Is(err, fs.ErrExist) {
		info, statErr := dir.Lstat(base)
		if statErr != nil || !info.IsDir() {
			return err
		}
	} else if err != nil {
		return err
	}
	u.dirs[name] = true
	u.made = append(u.made, directory{path: name, mode: mode(h), mtime: h.ModTime})
	return nil
}

func (u *unpacker) file(r io.Reader, h *tar.Header, base string) error {
	if h.Size > u.limits.Bytes-u.done.Bytes {
		return corrupt("over the limit of %d bytes", u.limits.Bytes)
	}
	fd, err := unix.Openat(int(u.at.Fd()), base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, uint32(mode(h)))
	if err != nil {
		return &fs.PathError{Op: "create", Path: base, Err: err}
	}
	f := os.NewFile(uintptr(fd), base)
	if err := errors.Join(u.content(f, r, h.Size), chmod(f, mode(h)), f.Close()); err != nil {
		return err
	}
	u.done.Files++
	u.done.Bytes += h.Size
	return u.setTime(base, h)
}

// chmod gives a new file what the umask has kept from its mode.
func chmod(f *os.File, mode fs.FileMode) error {
	info, err := f.Stat()
	if err != nil || info.Mode() == mode {
		return err
	}
	return f.Chmod(mode)
}

// setTime sets the time of an entry of the open directory; that of a symlink itself.
func (u *unpacker) setTime(base string, h *tar.Header) error {
	mtime, err := unix.TimeToTimespec(h.ModTime)
	if err != nil {
		return corrupt("%w", err)
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	return unix.UtimesNanoAt(int(u.at.Fd()), base, times, unix.AT_SYMLINK_NOFOLLOW)
}

// content writes size bytes of r, and leaves holes where there are only zeros.
func (u *unpacker) content(f *os.File, r io.Reader, size int64) error {
	hole := false
	for at := int64(0); at < size; {
		block := u.buf[:min(size-at, int64(len(u.buf)))]
		if _, err := io.ReadFull(r, block); err != nil {
			return corrupt("%w", err)
		}
		at += int64(len(block))
		if hole = len(block)%holeSize == 0 && bytes.Equal(block, noZeros[:len(block)]); hole {
			continue
		}
		if _, err := f.WriteAt(block, at-int64(len(block))); err != nil {
			return err
		}
	}
	if hole {
		return f.Truncate(size)
	}
	return nil
}

func (u *unpacker) symlink(h *tar.Header, dir *os.Root, base string) error {
	if h.Linkname == "" || len(h.Linkname) > maxPath {
		return corrupt("a symlink to %s", shown(h.Linkname))
	}
	if err := dir.Symlink(h.Linkname, base); err != nil {
		return err
	}
	return u.setTime(base, h)
}

// link gives a file of the archive one more name. Its directory may be any of the archive's, so both are named from the root.
func (u *unpacker) link(h *tar.Header, name string) error {
	target := h.Linkname
	if err := checkName(target); err != nil {
		return err
	}
	if dir := path.Dir(target); dir != "." && !u.dirs[dir] {
		return corrupt("a hard link to %s", shown(target))
	}
	info, err := u.root.Lstat(target)
	if err != nil || !info.Mode().IsRegular() {
		return corrupt("a hard link to %s, which is no file of the archive", shown(target))
	}
	if err := u.root.Link(target, name); err != nil {
		return err
	}
	u.done.Files++
	return nil
}

// finish gives the directories their modes and times, the inner ones first: from then on they may be closed.
func (u *unpacker) finish() error {
	for _, d := range slices.Backward(u.made) {
		err := errors.Join(u.root.Chtimes(d.path, time.Time{}, d.mtime), u.root.Chmod(d.path, d.mode))
		if err != nil {
			return fmt.Errorf("unpack %s: %w", shown(d.path), err)
		}
	}
	return nil
}

func mode(h *tar.Header) fs.FileMode { return fs.FileMode(h.Mode) & fs.ModePerm }
