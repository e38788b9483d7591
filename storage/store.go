// Package storage keeps sessions: their metadata with the lease that says who may run them, the segments of their event
// logs, and the objects of their snapshots. Sessions is what the worker uses; below it is a Store, a small set of
// operations on objects, of which there are two: a MinIO bucket and a directory.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

var (
	// ErrNotFound says that there is no such session, or no object under the key.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that a condition did not hold when an object was to be put: nothing was written by this call.
	// It is also what a repeated put gets whose first answer was lost: read the object and see whether it is one's own.
	ErrConflict = errors.New("the stored object is another one")
	// ErrUnavailable says that the store gave no answer, or could not serve the request for now. Whether a write took
	// effect is unknown. Trying again may help.
	ErrUnavailable = errors.New("storage is not available")
)

// Store holds objects under keys. It is safe for concurrent use, also by several processes on the same data.
//
// A key is a slash-separated path without empty, "." and ".." elements, at most 1,000 bytes, no element over 200 bytes;
// anything else is an error. No key may be the folder of another one ("a" beside "a/b").
//
// An object is replaced as a whole: readers get the old or the new one, never a mixture, and a put that fails, is cut
// short or whose process dies leaves no trace that a reader could see. What has been put is seen by every later read
// and listing, in any process.
//
// When ctx ends, a call returns an error that wraps context.Cause(ctx), within a second; the effect of a write that was
// cut short is unknown. A store that gives no answer is ErrUnavailable in the end, but that takes a while: bound the call.
type Store interface {
	// Get opens an object. Reading ends with ctx too, so ctx must live until the reader is closed. A cut connection
	// shows as a read error that wraps ErrUnavailable, never as io.EOF. Info.Age is set. No object: ErrNotFound.
	Get(ctx context.Context, key string) (io.ReadCloser, Info, error)
	// Put stores what r yields until EOF, whatever was there before, without holding all of it in memory. An error of r
	// is returned and nothing is stored. When ctx ends while r blocks, an r with a method CloseWithError, as
	// io.PipeReader has, is closed by it; any other must end by itself.
	Put(ctx context.Context, key string, r io.Reader) error
	// PutIf stores data, of at most a few MiB, if cond holds at that moment: of any number that race, exactly one wins.
	// It returns the new version. ErrConflict: the object has another version, or exists though it should not.
	// ErrNotFound: there is no object to have a version.
	PutIf(ctx context.Context, key string, data []byte, cond Condition) (version string, err error)
	// List returns the objects whose keys begin with prefix and come after the key after, sorted by key (by bytes),
	// at most limit of them. An empty after is the beginning. Info.Age is not set.
	List(ctx context.Context, prefix, after string, limit int) ([]Info, error)
	// Folders returns the distinct first elements, each with its slash, of the keys that begin with prefix and have a
	// slash behind it: sorted by bytes, only those after the folder after, at most limit of them.
	Folders(ctx context.Context, prefix, after string, limit int) ([]string, error)
	// Stat is Get without the content. Info.Age is not set.
	Stat(ctx context.Context, key string) (Info, error)
	// Delete removes objects. One that does not exist is no error. An error means that some may be left.
	Delete(ctx context.Context, keys ...string) error
}

// Info describes a stored object.
type Info struct {
	Key     string
	Size    int64         // bytes
	Version string        // differs whenever the content does; opaque
	Age     time.Duration // since it was put, by the store's own clock, true to a second; only from Get
}

// Condition is what must hold for PutIf to write.
type Condition string

// IfAbsent holds when there is no object under the key.
const IfAbsent Condition = ""

// IfVersion holds when the object has this version.
func IfVersion(version string) Condition { return Condition(version) }

const (
	maxKey     = 1000
	maxElement = 200
)

// CheckKey tells whether a Store takes the key; implementations call it.
func CheckKey(key string) error {
	if key == "." || len(key) > maxKey || !fs.ValidPath(key) || strings.ContainsAny(key, "\x00\\") {
		return fmt.Errorf("storage key %q is not allowed", key)
	}
	for element := range strings.SplitSeq(key, "/") {
		if len(element) > maxElement {
			return fmt.Errorf("storage key %q is not allowed: an element is too long", key)
		}
	}
	return nil
}

// source is a reader as Put takes it: it keeps the reader's own error apart from the store's, and ends with ctx.
type source struct {
	ctx context.Context
	r   io.Reader
	err error
}

// newSource wraps r; call stop when it is no longer read.
func newSource(ctx context.Context, r io.Reader) (src *source, stop func()) {
	src = &source{ctx: ctx, r: r}
	closer, ok := r.(interface{ CloseWithError(error) error })
	if !ok {
		return src, func() {}
	}
	stopped := context.AfterFunc(ctx, func() { _ = closer.CloseWithError(context.Cause(ctx)) })
	return src, func() { stopped() }
}

func (s *source) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
