package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

const (
	// Format is what Tar writes into Ref.Format.
	Format = "tar+zstd"

	objectName   = "workspace.tar.zst"
	packHelper   = "snapshot-pack"
	unpackHelper = "snapshot-unpack"

	defaultMaxBytes   = 16 << 30
	defaultMaxEntries = 1_000_000
)

// Tar archives a workspace as one zstd-compressed tar, streamed between the agent's child and the store without a
// temporary file. Names are kept byte for byte, with permission bits, modification times, empty directories,
// symlinks (as text) and hard links among the files saved. Not kept: owners, setuid, setgid and sticky bits, extended attributes.
// A file that holds holes is stored with zeros, which cost next to nothing compressed, and gets its holes back.
// The zero Tar has the default limits.
type Tar struct {
	// MaxBytes bounds the files' contents; 0 means 16 GiB. Save leaves out, and reports, the files that no longer fit;
	// Restore refuses an archive that holds more.
	MaxBytes int64
	// MaxEntries bounds files, directories and links together, in the same way; 0 means a million.
	MaxEntries int
}

var _ Archiver = Tar{}

// limits is what both helpers are told, as JSON in their first argument.
type limits struct {
	Bytes   int64
	Entries int
}

func (t Tar) limits() limits {
	l := limits{Bytes: t.MaxBytes, Entries: t.MaxEntries}
	if l.Bytes == 0 {
		l.Bytes = defaultMaxBytes
	}
	if l.Entries == 0 {
		l.Entries = defaultMaxEntries
	}
	return l
}

// Save implements Archiver.
func (t Tar) Save(ctx context.Context, agent *agentproc.Agent, root string, include []string, to Objects) (Ref, Report, error) {
	include, err := normalize(include)
	if err != nil {
		return Ref{}, Report{}, err
	}
	packing, stop := context.WithCancel(ctx)
	defer stop()
	r, w := io.Pipe()
	cmd := agent.Helper(packHelper, helperArgs(t.limits(), root, include...)...)
	cmd.Stdout = w
	packed := make(chan struct{})
	go func() {
		defer close(packed)
		// Without an error the reader meets io.EOF, and so only once the child has ended well.
		w.CloseWithError(cmd.Run(packing))
	}()

	archive := &framed{r: r}
	putErr := to.Put(ctx, objectName, archive)
	stop()
	_ = r.Close() // never fails; unblocks a child that still writes
	<-packed
	if err := saveError(ctx, archive, putErr); err != nil {
		return Ref{}, Report{}, err
	}
	report := archive.report
	return Ref{Format: Format, Objects: []string{objectName}, Files: report.Files, Bytes: report.Bytes}, report, nil
}

// saveError finds the first cause among the three that can end a Save.
func saveError(ctx context.Context, archive *framed, putErr error) error {
	switch {
	case putErr == nil && archive.ended:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case archive.err != nil:
		return fmt.Errorf("pack the workspace: %w", archive.err)
	case putErr != nil:
		return fmt.Errorf("store the snapshot: %w", putErr)
	default:
		return errors.New("store the snapshot: the store stopped reading before the end")
	}
}

// Restore implements Archiver. Directories that are there already are filled; any other thing in the way is an error.
func (t Tar) Restore(ctx context.Context, agent *agentproc.Agent, root string, ref Ref, from Objects) error {
	limits, err := t.expect(ref)
	if err != nil {
		return err
	}
	archive, err := from.Get(ctx, ref.Objects[0])
	if err != nil {
		return fmt.Errorf("open the snapshot: %w", err)
	}
	defer func() { _ = archive.Close() }() // read only: nothing can be lost

	source := &source{r: archive}
	var said bytes.Buffer
	cmd := agent.Helper(unpackHelper, helperArgs(limits, root)...)
	cmd.Stdin, cmd.Stdout = source, &said
	err = cmd.Run(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case source.failure() != nil: // before the child's view of it, which is that of a short archive
		return fmt.Errorf("read the snapshot: %w", source.failure())
	case err != nil:
		return fmt.Errorf("unpack the snapshot: %w", err)
	}
	var done unpacked
	if err := json.Unmarshal(said.Bytes(), &done); err != nil {
		return fmt.Errorf("read what the unpacking child said: %w", err)
	}
	return done.check(ref)
}

// expect checks what the reference says and derives the limits: an archive may not hold more than its reference told.
func (t Tar) expect(ref Ref) (limits, error) {
	limits := t.limits()
	switch {
	case ref.Format != Format:
		return limits, fmt.Errorf("restore a snapshot of the unknown format %q", ref.Format)
	case len(ref.Objects) != 1 || ref.Files < 0 || ref.Bytes < 0:
		return limits, fmt.Errorf("%w: its reference makes no sense", ErrCorrupt)
	case ref.Bytes > limits.Bytes:
		return limits, fmt.Errorf("%w: its %d bytes are over the limit of %d", ErrCorrupt, ref.Bytes, limits.Bytes)
	}
	limits.Bytes = ref.Bytes
	return limits, nil
}

// unpacked is what the unpacking child says at its end, as JSON.
type unpacked struct {
	Files   int
	Bytes   int64
	Corrupt string // what is wrong with the archive, if anything
}

func (u unpacked) check(ref Ref) error {
	switch {
	case u.Corrupt != "":
		return corruption(u.Corrupt)
	case u.Files != ref.Files || u.Bytes != ref.Bytes:
		return fmt.Errorf("%w: %d files of %d bytes came out of it, not %d of %d", ErrCorrupt, u.Files, u.Bytes, ref.Files, ref.Bytes)
	}
	return nil
}

// corruption is an ErrCorrupt told by the child, in the child's words.
type corruption string

func (c corruption) Error() string { return string(c) }
func (c corruption) Unwrap() error { return ErrCorrupt }

// normalize checks the paths and leaves out those below another.
func normalize(include []string) ([]string, error) {
	var clean []string
	for _, p := range include {
		if !filepath.IsLocal(p) || path.Clean(p) == "." {
			return nil, fmt.Errorf("save %q: not a path below the workspace", p)
		}
		clean = append(clean, path.Clean(p))
	}
	slices.Sort(clean)
	var roots []string
	for _, p := range clean {
		if !slices.ContainsFunc(roots, func(r string) bool { return p == r || strings.HasPrefix(p, r+"/") }) {
			roots = append(roots, p)
		}
	}
	return roots, nil
}

func helperArgs(l limits, root string, include ...string) []string {
	told, _ := json.Marshal(l) // two numbers: cannot fail
	return append([]string{string(told), root}, include...)
}

// source remembers why the store's reader failed. The child's end and the reader may meet, so it is locked.
type source struct {
	r   io.Reader
	mu  sync.Mutex
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

func (s *source) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
