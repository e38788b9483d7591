package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// Snapshot returns a session's current snapshot, nil where none was saved yet, and where to read its objects from. No lease
// is needed, and none is waited for: a job that ends in the meantime replaces the snapshot, and what is read of the old one
// after that is ErrUnavailable. An unknown session is ErrNotFound.
func (s *Sessions) Snapshot(ctx context.Context, id string) (*snapshot.Ref, snapshot.Getter, error) {
	m, err := s.Metadata(ctx, id)
	if err != nil || m.Snapshot == nil {
		return nil, nil, err
	}
	return m.Snapshot, savedObjects{s: s, id: id, names: m.Snapshot.Objects}, nil
}

// savedObjects reads the objects of the snapshot that the metadata named.
type savedObjects struct {
	s     *Sessions
	id    string
	names []string
}

// Get implements snapshot.Getter.
func (o savedObjects) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := CheckKey(name); err != nil || !strings.HasPrefix(name, snapshotFolder) {
		return nil, fmt.Errorf("its object %q cannot be: %w", name, snapshot.ErrCorrupt)
	}
	r, _, err := o.s.cfg.Store.Get(ctx, sessionKey(o.id, name))
	if errors.Is(err, ErrNotFound) {
		return nil, o.missing(ctx, name)
	}
	return r, err
}

// missing tells a snapshot that was replaced, or removed with its session, from a damaged one.
func (o savedObjects) missing(ctx context.Context, name string) error {
	m, err := o.s.Metadata(ctx, o.id)
	switch {
	case err != nil:
		return err
	case !slices.Equal(m.snapshotObjects(), o.names):
		return fmt.Errorf("the snapshot was replaced while it was read: %w", ErrUnavailable)
	default:
		return fmt.Errorf("its object %s: %w", name, snapshot.ErrMissing)
	}
}
