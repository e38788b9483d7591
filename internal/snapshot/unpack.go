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
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

const (
	maxWindow = 8 << 20 // bytes of the decoder's memory for looking back; the encoder uses half of it
	// maxHeader bounds what the tar format may add for each entry: its header, that of its PAX records, the records, padding.
	maxHeader = 512 + 512 + 4*maxPath + 1024

	maxName  = 255  // bytes of one element of a path, as in every file system of Linux
	holeSize = 4096 // a block of zeros becomes a hole in multiples of this
)

var noZeros [bufferSize]byte

type unpacker struct {
	root    *os.Root
	limits  limits
	entries int
	made    []directory     // in order, parents first
	dirs    map[string]bool // their paths
	open    *os.Root        // the parent of the last entry, at path
	path    string
	buf     []byte
	done    unpacked
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
	decoder, err := zstd.NewReader(archive,
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeBuffersBelow(0)) // not at once into memory, however small it looks
	if err != nil {
		return unpacked{}, corrupt("%w", err)
	}
	defer decoder.Close()
	u := &unpacker{root: root, limits: l, dirs: map[string]bool{}, buf: make([]byte, bufferSize)}
	defer u.leave()
	bounded := &io.LimitedReader{R: decoder, N: l.Bytes + int64(l.Entries+1)*maxHeader}
	if err := u.all(tar.NewReader(bounded)); err != nil {
		return u.done, err
	}
	// To the end of the compressed stream, where its checksum is.
	if _, err := io.Copy(io.Discard, bounded); err != nil {
		return u.done, corrupt("%w", err)
	}
	if bounded.N <= 0 {
		return u.done, corrupt("it goes on and on")
	}
	return u.done, u.finish()
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}

// all reads every entry up to the end record, which has to be the last.
func (u *unpacker) all(r *tar.Reader) error {
	for {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return corrupt("it has no end")
		case err != nil:
			return corrupt("%w", err)
		case h.Typeflag == tar.TypeXGlobalHeader:
			return u.endRecord(r, h)
		}
		if err := u.entry(r, h); err != nil {
			return err
		}
	}
}

func (u *unpacker) endRecord(r *tar.Reader, h *tar.Header) error {
	told := h.PAXRecords[endRecord]
	if told != strconv.Itoa(u.entries) {
		return corrupt("%d entries came out of it, not %q", u.entries, told)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return corrupt("something follows its end: %w", err)
	}
	return nil
}

func (u *unpacker) entry(r io.Reader, h *tar.Header) error {
	if u.entries++; u.entries > u.limits.Entries {
		return corrupt("over the limit of %d entries", u.limits.Entries)
	}
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if err := checkName(name); err != nil {
		return err
	}
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

func checkName(name string) error {
	elements := strings.Split(name, "/")
	switch {
	case len(name) > maxPath || !filepath.IsLocal(name) || path.Clean(name) != name || name == ".":
		return corrupt("%s is no path below the root", shown(name))
	case len(elements) > maxDepth+1:
		return corrupt("%s is nested too deeply", shown(name))
	case slices.ContainsFunc(elements, func(e string) bool { return len(e) > maxName }):
		return corrupt("%s has an element of more than %d bytes", shown(name), maxName)
	}
	return nil
}

// put makes one entry; an error that is no ErrCorrupt is the file system's.
func (u *unpacker) put(r io.Reader, h *tar.Header, dir *os.Root, name, base string) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(h, dir, name, base)
	case tar.TypeReg:
		return u.file(r, h, dir, base)
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
	parent = strings.TrimSuffix(parent, "/")
	if parent == "" {
		return u.root, base, nil
	}
	if !u.dirs[parent] {
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
	u.open, u.path = dir, parent
	return dir, base, nil
}

func (u *unpacker) leave() {
	if u.open != nil {
		closeQuietly(u.open)
		u.open = nil
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

func (u *unpacker) file(r io.Reader, h *tar.Header, dir *os.Root, base string) error {
	if h.Size > u.limits.Bytes-u.done.Bytes {
		return corrupt("over the limit of %d bytes", u.limits.Bytes)
	}
	f, err := dir.OpenFile(base, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(u.content(f, r, h.Size), f.Chmod(mode(h)), f.Close()); err != nil {
		return err
	}
	u.done.Files++
	u.done.Bytes += h.Size
	return dir.Chtimes(base, time.Time{}, h.ModTime)
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
	at, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer closeQuietly(at)
	mtime, err := unix.TimeToTimespec(h.ModTime)
	if err != nil {
		return corrupt("%w", err)
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	return unix.UtimesNanoAt(int(at.Fd()), base, times, unix.AT_SYMLINK_NOFOLLOW)
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
