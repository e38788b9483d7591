package snapshot_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// archive compresses a tar of the headers; a regular file without a size gets a word as its content. The end record is right.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	return archiveWith(t, strconv.Itoa(len(headers)), headers...)
}

func archiveWith(t testing.TB, end string, headers ...tar.Header) []byte {
	t.Helper()
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	for _, h := range headers {
		writeEntry(t, w, h)
	}
	if end != "" {
		records := map[string]string{"AICW.entries": end}
		writeEntry(t, w, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: records})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return compress(t, raw.Bytes())
}

func writeEntry(t testing.TB, w *tar.Writer, h tar.Header) {
	t.Helper()
	const word = "hostile"
	if h.Typeflag == tar.TypeReg {
		h.Size = int64(len(word))
	}
	if h.Format == tar.FormatUnknown {
		h.Format = tar.FormatPAX
	}
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if h.Typeflag == tar.TypeReg {
		if _, err := io.WriteString(w, word); err != nil {
			t.Fatal(err)
		}
	}
}

func compress(t testing.TB, data []byte) []byte {
	t.Helper()
	enc, err := encoder()
	if err != nil {
		t.Fatal(err)
	}
	return enc.EncodeAll(data, nil)
}

// encoder is made once: fuzzing would do little else.
var encoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderCRC(true), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
})

func dir(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}
}

func reg(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }

func symlink(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}

func link(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

func TestUnpackRefusesHostileArchives(t *testing.T) {
	long := strings.Repeat("d/", snapshot.MaxPath/2) + "f"
	cases := map[string][]tar.Header{
		"absolute":                   {reg("/escaped")},
		"dot dot":                    {reg("../escaped")},
		"dot dot inside":             {dir("a"), reg("a/../../escaped")},
		"dot dot within":             {dir("a"), reg("a/../inside")},
		"dot":                        {dir(".")},
		"unclean":                    {dir("a"), reg("a//b")},
		"sibling prefix":             {reg("../root2/escaped")},
		"through a symlink up":       {symlink("a", ".."), reg("a/escaped")},
		"through a symlink out":      {symlink("a", "/tmp"), reg("a/escaped")},
		"through a symlink chain":    {dir("d"), symlink("d/a", "../.."), symlink("b", "d/a"), reg("b/escaped")},
		"through a symlink within":   {dir("d"), symlink("a", "d"), reg("a/inside")},
		"onto a symlink":             {symlink("a", "../escaped"), reg("a")},
		"onto a symlink, directory":  {symlink("a", ".."), dir("a")},
		"hard link out":              {link("a", "../outside")},
		"hard link out, absolute":    {link("a", "/etc/passwd")},
		"hard link to a symlink":     {symlink("a", "../outside"), link("b", "a"), reg("b/x")},
		"hard link by way of a link": {symlink("a", ".."), link("b", "a/outside")},
		"hard link to a directory":   {dir("a"), link("b", "a")},
		"hard link to nothing":       {link("b", "a")},
		"file twice":                 {reg("a"), reg("a")},
		"directory twice":            {dir("a"), dir("a")},
		"file as a directory":        {reg("a"), reg("a/b")},
		"no parent":                  {reg("a/b")},
		"FIFO":                       {{Typeflag: tar.TypeFifo, Name: "a"}},
		"character device":           {{Typeflag: tar.TypeChar, Name: "a", Devmajor: 1, Devminor: 3}},
		"block device":               {{Typeflag: tar.TypeBlock, Name: "a", Devmajor: 8}},
		"unknown kind":               {{Typeflag: 'Z', Name: "a"}},
		"long path":                  {reg(long)},
		"long element":               {reg(strings.Repeat("n", 256))},
		"symlink to nothing":         {symlink("a", "")},
		"symlink to a long path":     {symlink("a", long)},
		"more bytes than told":       {reg("a"), reg("b"), reg("c")},
		"more entries than told":     {dir("a"), dir("b"), dir("c"), dir("d"), dir("e"), dir("f")},
	}
	for name, headers := range cases {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			root := filepath.Join(base, "root")
			for _, d := range []string{root, filepath.Join(base, "root2")} {
				if err := os.Mkdir(d, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			outside := filepath.Join(base, "outside")
			if err := os.WriteFile(outside, []byte("untouched"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err := snapshot.Unpack(root, snapshot.Tar{MaxBytes: 20, MaxEntries: 5}, bytes.NewReader(archive(t, headers...)))
			if !errors.Is(err, snapshot.ErrCorrupt) {
				t.Errorf("error %v, want ErrCorrupt", err)
			}
			checkOutside(t, base, outside)
		})
	}
}

// checkOutside fails when anything but root has changed below base.
func checkOutside(t testing.TB, base, outside string) {
	t.Helper()
	data, err := os.ReadFile(outside)
	if err != nil || string(data) != "untouched" {
		t.Errorf("the file outside holds %q, %v", data, err)
	}
	_ = filepath.WalkDir(base, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == "escaped" {
			t.Errorf("escaped to %s", path)
		}
		return nil
	})
}

func TestUnpackDropsSetuid(t *testing.T) {
	root := t.TempDir()
	h := reg("a")
	h.Mode = 0o6755
	if _, _, err := snapshot.Unpack(root, snapshot.Tar{}, bytes.NewReader(archive(t, h))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(root, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o755 {
		t.Errorf("mode %v, want 0755", info.Mode())
	}
}

func TestUnpackSeesDamage(t *testing.T) {
	good := archive(t, dir("a"), reg("a/b"), symlink("c", "a"))
	check := func(t *testing.T, data []byte) {
		t.Helper()
		if _, _, err := snapshot.Unpack(t.TempDir(), snapshot.Tar{}, bytes.NewReader(data)); !errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("error %v, want ErrCorrupt", err)
		}
	}
	if _, _, err := snapshot.Unpack(t.TempDir(), snapshot.Tar{}, bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	t.Run("truncated anywhere", func(t *testing.T) {
		for n := range good {
			check(t, good[:n])
		}
	})
	t.Run("any bit flipped", func(t *testing.T) {
		for i := range good {
			damaged := bytes.Clone(good)
			damaged[i] ^= 1 << (i % 8)
			// A flip that the format does not cover (a reserved bit) may be seen by nobody, and change nothing.
			root := t.TempDir()
			if _, _, err := snapshot.Unpack(root, snapshot.Tar{}, bytes.NewReader(damaged)); err != nil {
				continue
			}
			if data, err := os.ReadFile(filepath.Join(root, "a", "b")); string(data) != "hostile" {
				t.Errorf("byte %d: unseen, and the file holds %q, %v", i, data, err)
			}
		}
	})
	t.Run("a valid tar without its end", func(t *testing.T) { check(t, archiveWith(t, "", dir("a"), reg("a/b"))) })
	t.Run("a valid tar that lost an entry", func(t *testing.T) { check(t, archiveWith(t, "3", dir("a"), reg("a/b"))) })
	t.Run("a second tar behind it", func(t *testing.T) {
		check(t, archiveWith(t, "1", dir("a"), tar.Header{
			Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"AICW.entries": "1"},
		}, reg("b")))
	})
	t.Run("not compressed", func(t *testing.T) { check(t, []byte("PK\x03\x04 is no zstd")) })
	t.Run("empty", func(t *testing.T) { check(t, nil) })
}

// zeroTar yields one header and then zeros for ever: a file larger than any disk.
func zeroTar(t testing.TB, h tar.Header) io.Reader {
	t.Helper()
	var head bytes.Buffer
	if err := tar.NewWriter(&head).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	return io.MultiReader(&head, endless{})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestUnpackStopsBombs(t *testing.T) {
	bombs := map[string]io.Reader{
		"a file over the limit": zeroTar(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 10 << 40, Format: tar.FormatPAX}),
		"the largest size":      zeroTar(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: math.MaxInt64, Format: tar.FormatPAX}),
		"nothing behind the end": io.MultiReader(
			bytes.NewReader(decompress(t, archive(t, dir("a")))), endless{}),
	}
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			r, w := io.Pipe()
			defer r.Close()
			go func() {
				enc, err := zstd.NewWriter(w)
				if err == nil {
					_, err = io.Copy(enc, bomb)
				}
				w.CloseWithError(err)
			}()
			start := time.Now()
			_, _, err := snapshot.Unpack(t.TempDir(), snapshot.Tar{MaxBytes: 1 << 20, MaxEntries: 100}, r)
			if !errors.Is(err, snapshot.ErrCorrupt) {
				t.Errorf("error %v, want ErrCorrupt", err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func decompress(t testing.TB, data []byte) []byte {
	t.Helper()
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	raw, err := dec.DecodeAll(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestUnpackRefusesWhatIsInTheWay(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, h := range []tar.Header{reg("a"), dir("a"), symlink("a", "b")} {
		if _, _, err := snapshot.Unpack(root, snapshot.Tar{}, bytes.NewReader(archive(t, h))); err == nil {
			t.Errorf("%c over a file: no error", h.Typeflag)
		}
	}
	if data, _ := os.ReadFile(filepath.Join(root, "a")); string(data) != "mine" {
		t.Errorf("the file in the way now holds %q", data)
	}
}

// The file system's own failures are no corruption: a full disk must not condemn a session.
func TestUnpackTellsADiskFromAnArchive(t *testing.T) {
	root := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	opened, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	_, _, err = snapshot.UnpackInto(opened, snapshot.Tar{}, bytes.NewReader(archive(t, reg("a"))))
	if err == nil || errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("error %v, want one that is not ErrCorrupt", err)
	}
}
