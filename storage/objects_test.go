package storage_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// save does what an archiver does, always under the same name, and makes the snapshot the session's.
func save(t *testing.T, l *storage.Lease, content string) {
	t.Helper()
	if err := l.Objects().Put(t.Context(), "workspace.tar", strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	name(t, l)
}

func name(t *testing.T, l *storage.Lease) {
	t.Helper()
	ref := &snapshot.Ref{Format: "tar", Objects: []string{"workspace.tar"}, Files: 1}
	if err := l.Update(t.Context(), func(m *storage.Metadata) { m.Snapshot = ref }); err != nil {
		t.Fatal(err)
	}
	if ref.Objects[0] != "workspace.tar" {
		t.Error("the caller's Ref was changed")
	}
}

func restore(t *testing.T, l *storage.Lease) string {
	t.Helper()
	r, err := l.Objects().Get(t.Context(), l.Metadata().Snapshot.Objects[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func snapshots(t *testing.T, store storage.Store) int {
	t.Helper()
	return len(keys(t, store, "session-s/snapshot/"))
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		a := worker(store, "a", time.Minute)
		l := acquire(t, a, "s")
		save(t, l, "first")
		save(t, l, "second")
		if got := restore(t, l); got != "second" {
			t.Errorf("restored %q", got)
		}
		if n := snapshots(t, store); n != 2 {
			t.Errorf("%d snapshots during the attempt", n)
		}
		finish(t, l, ship(t, l))
		if n := snapshots(t, store); n != 1 {
			t.Errorf("%d snapshots after the attempt", n)
		}

		l = acquire(t, worker(store, "b", time.Minute), "s")
		if got := restore(t, l); got != "second" {
			t.Errorf("restored %q", got)
		}
		// A save that fails, and one that nothing names in the end.
		broken := errors.New("broken")
		wantError(t, "Put", l.Objects().Put(t.Context(), "workspace.tar", iotest.ErrReader(broken)), broken)
		if err := l.Objects().Put(t.Context(), "workspace.tar", strings.NewReader("unnamed")); err != nil {
			t.Fatal(err)
		}
		finish(t, l, ship(t, l))
		l = acquire(t, a, "s")
		if got, n := restore(t, l), snapshots(t, store); got != "second" || n != 1 {
			t.Errorf("restored %q of %d snapshots", got, n)
		}
		save(t, l, "third")
		finish(t, l, ship(t, l))
		if n := snapshots(t, store); n != 1 {
			t.Errorf("%d snapshots in the end", n)
		}
	})
}

// TestSnapshotsOfTheDead are kept when they are named, and swept up by the taker when they are not.
func TestSnapshotsOfTheDead(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		save(t, l, "named")
		if err := l.Objects().Put(t.Context(), "workspace.tar", strings.NewReader("unnamed")); err != nil {
			t.Fatal(err)
		}
		if _, err := worker(store, "x", ttl).RequestAbort(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		l.Close()
		<-time.After(2 * ttl)
		next := acquire(t, worker(store, "b", ttl), "s")
		synctest.Wait() // it has swept up: what it replaces itself goes with its end
		save(t, next, "new")
		<-time.After(time.Second)
		want := append([]string{next.Metadata().Snapshot.Objects[0]}, l.Metadata().Snapshot.Objects...)
		var got []string
		for _, key := range keys(t, store, "session-s/snapshot/") {
			got = append([]string{strings.TrimPrefix(key, "session-s/")}, got...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("while the taker works: %s", diff)
		}
		if left := keys(t, store, "session-s/.abort"); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
		if got := restore(t, next); got != "new" {
			t.Errorf("restored %q", got)
		}
		finish(t, next, ship(t, next))
		if n := snapshots(t, store); n != 1 {
			t.Errorf("%d snapshots in the end", n)
		}
	})
}

func TestMissingSnapshotIsCorrupt(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		l := acquire(t, worker(faults, "a", ttl), "s")
		save(t, l, "x")
		full := l.Metadata().Snapshot.Objects[0]
		faults.Set(storagetest.AllAway)
		_, err := l.Objects().Get(t.Context(), full)
		wantError(t, "Get from a store that is away", err, storage.ErrUnavailable)
		faults.Set(nil)
		if err := store.Delete(t.Context(), "session-s/"+full); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{full, "other", "snapshot/../../session-x/y", "../x", "snapshot/../.session-metadata.json", ""} {
			_, err := l.Objects().Get(t.Context(), name)
			wantError(t, name, err, snapshot.ErrCorrupt)
			if errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s: %v looks like an unknown session", name, err)
			}
			if name != "other" && l.Objects().Put(t.Context(), name, strings.NewReader("x")) == nil {
				t.Errorf("Put takes the name %q", name)
			}
		}
	})
}
