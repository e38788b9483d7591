package snapshot

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// Entry is something that a snapshot holds.
type Entry struct {
	Path     string      // slash-separated, below the root, byte for byte
	Mode     fs.FileMode // its permission bits, and the type of a directory or symlink
	Size     int64       // of a file's content, in bytes; 0 for one more name of a file
	Modified time.Time
	Target   string // of a symlink, as text; of one more name of a file: the path of its first
}

// List implements Archiver. It reads the whole archive, and keeps nothing of it.
func (t Tar) List(ctx context.Context, ref Ref, from Getter, emit func(Entry) error) error {
	limits, err := t.expect(ref)
	if err != nil {
		return err
	}
	archive, err := from.Get(ctx, ref.Objects[0])
	if err != nil {
		return fmt.Errorf("open the snapshot: %w", err)
	}
	defer closeQuietly(archive)
	source := &source{r: archive}
	var refused error // emit's own
	err = walk(source, limits, func(h *tar.Header, name string, _ io.Reader) error {
		e, err := listed(h, name)
		if err == nil {
			refused = emit(e)
			err = refused
		}
		return err
	})
	switch {
	case refused != nil:
		return refused
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case source.failure() != nil: // before its look as that of a short archive
		return fmt.Errorf("read the snapshot: %w", source.failure())
	case err != nil:
		return fmt.Errorf("list the snapshot: %w", err)
	}
	return nil
}

func listed(h *tar.Header, name string) (Entry, error) {
	e := Entry{Path: name, Mode: mode(h), Modified: h.ModTime}
	switch h.Typeflag {
	case tar.TypeReg:
		e.Size = h.Size
	case tar.TypeDir:
		e.Mode |= fs.ModeDir
	case tar.TypeSymlink:
		e.Mode, e.Target = e.Mode|fs.ModeSymlink, h.Linkname
	case tar.TypeLink:
		e.Target = h.Linkname
	default:
		return e, corrupt("of the kind %q, which is never saved", h.Typeflag)
	}
	return e, nil
}
