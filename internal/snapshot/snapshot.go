// Package snapshot turns a workspace into objects and back. It knows no store: objects go to and come from an
// Objects. Everything that touches the workspace's files runs in a child under the agent's uid, because the agent
// owns them and may have made them hostile; nothing is trusted when it comes back either.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// ErrCorrupt is wrapped by Restore's error when the stored snapshot is damaged, cut short, hostile or over a limit.
// Trying again does not help.
var ErrCorrupt = errors.New("the snapshot is corrupt")

// ErrMissing is the ErrCorrupt of a snapshot of which nothing is left: Objects.Get wraps it.
var ErrMissing = fmt.Errorf("it is not in storage any more: %w", ErrCorrupt)

// Objects is where a snapshot's objects are kept. Names are relative and unique within one Objects.
type Objects interface {
	Getter
	// Put stores what r yields until EOF. An error from r means that no object by that name may come to be.
	Put(ctx context.Context, name string, r io.Reader) error
}

// Getter is where a snapshot's objects are read from.
type Getter interface {
	// Get opens a stored object; the caller closes it. Reading ends with ctx, too.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
}

// Ref names a stored snapshot; it is all that Restore needs, and is kept in the session's metadata.
type Ref struct {
	Format  string   `json:"format"`
	Objects []string `json:"objects"`
	Files   int      `json:"files"`
	Bytes   int64    `json:"bytes"` // of the files' contents, before compression
}

// Report says what Save did.
type Report struct {
	Files   int      // regular files stored
	Bytes   int64    // of their contents
	Skipped []string // one "path: why" for each entry left out: FIFOs, sockets, devices, unreadable files, credentials
}

// Archiver is one format of snapshots. Implementations are safe for concurrent use.
type Archiver interface {
	// Save stores the paths of include, slash-separated and below the absolute directory root, as one snapshot.
	// A path that is missing is no error. When Save fails or ctx ends (its cause is returned) no object counts.
	Save(ctx context.Context, agent *agentproc.Agent, root string, include []string, to Objects) (Ref, Report, error)
	// Restore puts a snapshot's files back below root, which exists, belongs to the agent and should be empty.
	// Nothing outside root is written, whatever the snapshot holds. An error leaves root half filled: remove it.
	Restore(ctx context.Context, agent *agentproc.Agent, root string, ref Ref, from Objects) error
	// List tells what a snapshot holds, each directory before what is in it, without unpacking anything. An error of emit ends it
	// and is returned. What was emitted before an error stands, but may not be all.
	List(ctx context.Context, ref Ref, from Getter, emit func(Entry) error) error
}
