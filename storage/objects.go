package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// Objects is where one snapshot is saved to, and where any of the session's is restored from. Each call is for another
// save, and what it puts has names of its own in storage, so that a save never touches the snapshot before it. The
// metadata hold those names: Update translates a snapshot.Ref that Archiver.Save has returned.
func (l *Lease) Objects() snapshot.Objects {
	return &leaseObjects{l: l, dir: snapshotDir(l.attempt, l.s.cfg.NewID())}
}

type leaseObjects struct {
	l   *Lease
	dir string
}

// Put implements snapshot.Objects.
func (o *leaseObjects) Put(ctx context.Context, name string, r io.Reader) error {
	full := o.dir + name
	if err := CheckKey(full); err != nil || strings.HasPrefix(name, snapshotFolder) {
		return fmt.Errorf("put snapshot object %q: no object of a snapshot can have this name", name)
	}
	ctx, cancel := o.l.bound(ctx)
	defer cancel()
	if err := o.l.Valid(ctx); err != nil {
		return fmt.Errorf("put snapshot object %s: %w", name, err)
	}
	o.l.mu.Lock()
	o.l.objects.put[full] = true
	o.l.mu.Unlock()
	if err := o.l.s.cfg.Store.Put(ctx, sessionKey(o.l.id, full), r); err != nil {
		return fmt.Errorf("put snapshot object %s: %w", name, err)
	}
	o.l.mu.Lock()
	o.l.objects.full[name] = full
	o.l.mu.Unlock()
	return nil
}

// Get implements snapshot.Objects. An object that the metadata name and the store has not is a damaged snapshot.
func (o *leaseObjects) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	full := name
	if !strings.HasPrefix(name, snapshotFolder) {
		full = o.dir + name
	}
	if err := CheckKey(full); err != nil {
		return nil, fmt.Errorf("its object %q cannot be: %w", name, snapshot.ErrCorrupt)
	}
	r, _, err := o.l.s.cfg.Store.Get(ctx, sessionKey(o.l.id, full))
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("its object %s: %w", name, snapshot.ErrMissing)
	}
	return r, err
}

// objectNames knows the objects that an attempt has put or left without a name.
type objectNames struct {
	put  map[string]bool   // names below the session's prefix that may exist and may be nobody's
	full map[string]string // by the name that the archiver knows, for the latest save
}

func newObjectNames() objectNames {
	return objectNames{put: make(map[string]bool), full: make(map[string]string)}
}

// qualify replaces the archiver's names by those below the session's prefix; a name that is one already stays.
func (o *objectNames) qualify(ref *snapshot.Ref) {
	if ref == nil {
		return
	}
	for i, name := range ref.Objects {
		if full, ok := o.full[name]; ok {
			ref.Objects[i] = full
		}
	}
}

// replaced remembers what the metadata before a move named.
func (o *objectNames) replaced(before, after Metadata) {
	for _, name := range before.snapshotObjects() {
		if !slices.Contains(after.snapshotObjects(), name) {
			o.put[name] = true
		}
	}
}

// unnamed are all objects that the metadata do not name.
func (o *objectNames) unnamed(m Metadata) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(o.put)), func(name string) bool {
		return slices.Contains(m.snapshotObjects(), name) || !strings.HasPrefix(name, snapshotFolder)
	})
}
