package snapshot

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

const (
	maxPath    = 4096 // bytes of a path below the root
	maxDepth   = 512  // directories open at once while packing
	maxSkipped = 100  // entries named in a report
	maxShown   = 200  // bytes of a path there

	bufferSize = 128 << 10

	window   = 1 << 20 // bytes that are looked back; an encoder takes four times as much at once
	encoders = 4       // at most, each with some 10 MB of memory

	// endRecord is the key of the archive's last header, whose value is the number of entries before it: a tar that lost its
	// tail is otherwise a valid one. GNU tar passes over it with a warning.
	endRecord = "AICW.entries"
)

// checkout is the user's part of a workspace: a file named as a credential belongs to the repository there.
const checkout = "checkout"

// credentials are the files in which assistants keep their logins; they are left out of everything but the checkout.
var credentials = []string{".credentials.json", "auth.json"}

// inode tells hard links to one file.
type inode struct{ dev, ino uint64 }

type packer struct {
	out     *tar.Writer
	limits  limits
	entries int
	dirs    map[string]bool  // the directories above and at included paths, so that none is written twice
	links   map[inode]string // files with several names: the first one stored
	left    int              // entries skipped beyond those that the report names
	buf     []byte
	report  Report
}

// pack writes the archive to w. Only w's errors are errors: a file that cannot be stored is skipped and reported.
func pack(root *os.Root, include []string, l limits, w io.Writer) (Report, error) {
	buffered := bufio.NewWriterSize(w, 256<<10)
	compressed, err := compress(buffered)
	if err != nil {
		return Report{}, err
	}
	p := &packer{
		out: tar.NewWriter(compressed), limits: l, dirs: map[string]bool{}, links: map[inode]string{}, buf: make([]byte, bufferSize),
	}
	for _, path := range include {
		if err := p.descend(root, "", strings.Split(path, "/")); err != nil {
			return Report{}, err
		}
	}
	if err := errors.Join(p.end(), p.out.Close(), compressed.Close(), buffered.Flush()); err != nil {
		return Report{}, fmt.Errorf("write the archive: %w", err)
	}
	if p.left > 0 {
		p.report.Skipped = append(p.report.Skipped, fmt.Sprintf("and %d more", p.left))
	}
	return p.report, nil
}

// compress writes one frame, as one encoder would, but by several at once, each on some megabytes of what was written.
func compress(w io.Writer) (*zstd.Encoder, error) {
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(true),
		zstd.WithWindowSize(window), zstd.WithConcurrentBlocks(true), zstd.WithEncoderConcurrency(min(runtime.GOMAXPROCS(0), encoders)))
}

func (p *packer) end() error {
	return p.out.WriteHeader(&tar.Header{
		Typeflag: tar.TypeXGlobalHeader, Format: tar.FormatPAX, PAXRecords: map[string]string{endRecord: strconv.Itoa(p.entries)},
	})
}

// descend goes down to an included path; the directories on the way are stored without what else they hold.
func (p *packer) descend(dir *os.Root, parent string, rest []string) error {
	path := join(parent, rest[0])
	if len(rest) == 1 {
		return p.entry(dir, rest[0], path, strings.Count(path, "/"))
	}
	info, err := dir.Lstat(rest[0])
	if err != nil {
		return p.unreadable(path, err)
	}
	switch {
	case !info.IsDir():
		return p.skip(path, "not a directory")
	case !p.dirs[path] && p.full():
		return p.skip(path, p.tooMany())
	}
	return p.directory(dir, info, path, func(sub *os.Root) error { return p.descend(sub, path, rest[1:]) })
}

// entry stores whatever lies at dir/name, and what is below it.
func (p *packer) entry(dir *os.Root, name, path string, depth int) error {
	info, err := dir.Lstat(name)
	switch {
	case err != nil:
		return p.unreadable(path, err)
	case len(path) > maxPath:
		return p.skip(path, fmt.Sprintf("path longer than %d bytes", maxPath))
	case depth > maxDepth:
		return p.skip(path, fmt.Sprintf("nested deeper than %d directories", maxDepth))
	case p.full():
		return p.skip(path, p.tooMany())
	case slices.Contains(credentials, name) && !strings.HasPrefix(path, checkout+"/"):
		return p.skip(path, "a credential")
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return p.directory(dir, info, path, func(sub *os.Root) error { return p.children(sub, path, depth+1) })
	case fs.ModeSymlink:
		return p.symlink(dir, info, path)
	case 0:
		return p.file(dir, info, path)
	default:
		return p.skip(path, kind(info.Mode()))
	}
}

// full tells that an archive with one more entry would be refused by Restore.
func (p *packer) full() bool { return p.entries >= p.limits.Entries }

func (p *packer) tooMany() string {
	return fmt.Sprintf("over the limit of %d entries", p.limits.Entries)
}

// directory stores a directory and calls inside with it opened.
func (p *packer) directory(parent *os.Root, info fs.FileInfo, path string, inside func(*os.Root) error) error {
	if !p.dirs[path] {
		p.dirs[path] = true
		if err := p.header(info, &tar.Header{Typeflag: tar.TypeDir, Name: path + "/"}); err != nil {
			return err
		}
	}
	defer lend(parent, info, 0o500)()
	sub, err := parent.OpenRoot(info.Name())
	if err != nil {
		return p.unreadable(path, err)
	}
	defer closeQuietly(sub)
	return inside(sub)
}

func (p *packer) children(dir *os.Root, path string, depth int) error {
	f, err := dir.Open(".")
	if err != nil {
		return p.unreadable(path, err)
	}
	names, err := f.Readdirnames(-1)
	closeQuietly(f)
	slices.Sort(names)
	for _, name := range names {
		if err := p.entry(dir, name, join(path, name), depth); err != nil {
			return err
		}
	}
	return p.unreadable(path, err)
}

func (p *packer) symlink(dir *os.Root, info fs.FileInfo, path string) error {
	target, err := dir.Readlink(info.Name())
	if err != nil {
		return p.unreadable(path, err)
	}
	return p.header(info, &tar.Header{Typeflag: tar.TypeSymlink, Name: path, Linkname: target})
}

func (p *packer) file(dir *os.Root, info fs.FileInfo, path string) error {
	f, err := open(dir, info)
	if err != nil {
		return p.unreadable(path, err)
	}
	defer closeQuietly(f)
	now, err := f.Stat()
	if err != nil || !now.Mode().IsRegular() || !os.SameFile(now, info) {
		return p.skip(path, "changed while it was saved")
	}
	id, shared := several(now)
	if first, stored := p.links[id]; shared && stored {
		p.report.Files++
		return p.header(info, &tar.Header{Typeflag: tar.TypeLink, Name: path, Linkname: first})
	}
	size := now.Size()
	if size > p.limits.Bytes-p.report.Bytes {
		return p.skip(path, fmt.Sprintf("over the limit of %d bytes", p.limits.Bytes))
	}
	if err := p.header(info, &tar.Header{Typeflag: tar.TypeReg, Name: path, Size: size}); err != nil {
		return err
	}
	if shared {
		p.links[id] = path
	}
	p.report.Files++
	p.report.Bytes += size
	return p.content(f, path, size)
}

// content copies exactly size bytes: what a shrinking or unreadable file no longer has is filled with zeros, and said.
func (p *packer) content(f io.Reader, path string, size int64) error {
	in := &input{r: f}
	n, err := io.CopyBuffer(p.out, io.LimitReader(in, size), p.buf)
	if n == size {
		return nil
	}
	if in.err == nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	if _, err := io.CopyN(p.out, zeros{}, size-n); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return p.skip(path, fmt.Sprintf("changed while it was saved: only its first %d bytes are there", n))
}

// header completes and writes a header. The permission bits are those of info, taken before anything was lent.
func (p *packer) header(info fs.FileInfo, h *tar.Header) error {
	h.Format = tar.FormatPAX
	h.Mode = int64(info.Mode().Perm())
	h.ModTime = info.ModTime()
	if err := p.out.WriteHeader(h); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	p.entries++
	return nil
}

// unreadable skips what could not be looked at; what is not there any more, or never was, needs no word.
func (p *packer) unreadable(path string, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	reason := err
	if inner := errors.Unwrap(err); inner != nil { // without the path, which is said already
		reason = inner
	}
	return p.skip(path, "unreadable: "+reason.Error())
}

func (p *packer) skip(path, why string) error {
	if len(p.report.Skipped) == maxSkipped {
		p.left++
		return nil
	}
	p.report.Skipped = append(p.report.Skipped, shown(path)+": "+why)
	return nil
}

// open opens a file for reading, whatever its mode, without waiting for anything that took its place.
func open(dir *os.Root, info fs.FileInfo) (*os.File, error) {
	defer lend(dir, info, 0o400)()
	return dir.OpenFile(info.Name(), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
}

// lend gives the owner the missing bits for a while; the returned function takes them back.
func lend(dir *os.Root, info fs.FileInfo, bits fs.FileMode) func() {
	mode := info.Mode()
	if mode&bits == bits || dir.Chmod(info.Name(), mode|bits) != nil {
		return func() {} // nothing missing, or not ours to give: opening will tell
	}
	return func() { _ = dir.Chmod(info.Name(), mode) } // best effort: the workspace is about to go
}

// several returns the file's identity and whether it has more than one name.
func several(info fs.FileInfo) (inode, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, false
	}
	return inode{dev: stat.Dev, ino: stat.Ino}, stat.Nlink > 1
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	default:
		return "a device"
	}
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// shown is a path for people: short, and quoted where it must be.
func shown(path string) string {
	if len(path) > maxShown {
		path = path[:maxShown] + "..."
	}
	return printable(path)
}

// printable quotes what people could not read, or a terminal would obey.
func printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return strconv.Quote(s)
}

// input remembers that reading ended or failed, to tell it from a failure to write.
type input struct {
	r   io.Reader
	err error
}

func (i *input) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err != nil {
		i.err = err
	}
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
