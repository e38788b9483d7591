package snapshot

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	maxWindow = 8 << 20 // bytes of the decoder's memory for looking back; the encoder uses less
	// maxHeader bounds what the tar format may add for each entry: its header, that of its PAX records, the records, padding.
	maxHeader = 512 + 512 + 4*maxPath + 1024

	maxName = 255 // bytes of one element of a path, as in every file system of Linux
)

// walk calls entry for everything that the archive holds, in its order, with the path that it has below the root; what entry
// leaves of the content is skipped. The error is ErrCorrupt, wrapped, when the archive is at fault, else that of entry.
func walk(archive io.Reader, l limits, entry func(h *tar.Header, name string, r io.Reader) error) error {
	decoder, err := zstd.NewReader(archive,
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeBuffersBelow(0)) // not at once into memory, however small it looks
	if err != nil {
		return corrupt("%w", err)
	}
	defer decoder.Close()
	bounded := &io.LimitedReader{R: decoder, N: l.Bytes + int64(l.Entries+1)*maxHeader}
	if err := walkTar(tar.NewReader(bounded), l, entry); err != nil {
		return err
	}
	// To the end of the compressed stream, where its checksum is.
	if _, err := io.Copy(io.Discard, bounded); err != nil {
		return corrupt("%w", err)
	}
	if bounded.N <= 0 {
		return corrupt("it goes on and on")
	}
	return nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}

// walkTar reads every entry up to the end record, which has to be the last.
func walkTar(r *tar.Reader, l limits, entry func(h *tar.Header, name string, r io.Reader) error) error {
	for entries := 0; ; entries++ {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return corrupt("it has no end")
		case err != nil:
			return corrupt("%w", err)
		case h.Typeflag == tar.TypeXGlobalHeader:
			return checkEnd(r, h, entries)
		case entries == l.Entries:
			return corrupt("over the limit of %d entries", l.Entries)
		}
		name := h.Name
		if h.Typeflag == tar.TypeDir {
			name = strings.TrimSuffix(name, "/")
		}
		if err := checkName(name); err != nil {
			return err
		}
		if err := entry(h, name, r); err != nil {
			return err
		}
	}
}

func checkEnd(r *tar.Reader, h *tar.Header, entries int) error {
	told := h.PAXRecords[endRecord]
	if told != strconv.Itoa(entries) {
		return corrupt("%d entries came out of it, not %q", entries, told)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return corrupt("something follows its end: %w", err)
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
