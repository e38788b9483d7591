package storage_test

import (
	"io"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

func TestSnapshotIsReadWithoutALease(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		a, b := worker(store, "a", time.Minute), worker(store, "b", time.Minute)
		_, _, err := b.Snapshot(t.Context(), "s")
		wantError(t, "an unknown session", err, storage.ErrNotFound)
		l := acquire(t, a, "s")
		if ref, _, err := b.Snapshot(t.Context(), "s"); ref != nil || err != nil {
			t.Errorf("before the first one: %v, %v", ref, err)
		}
		save(t, l, "first")
		ref, from, err := b.Snapshot(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		r, err := from.Get(t.Context(), ref.Objects[0])
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil || string(data) != "first" {
			t.Errorf("read %q, %v", data, err)
		}
		for _, name := range []string{".session-metadata.json", "workspace.tar", "snapshot/../.session-metadata.json", ""} {
			_, err := from.Get(t.Context(), name)
			wantError(t, name, err, snapshot.ErrCorrupt)
		}

		old := ref.Objects[0]
		save(t, l, "second")
		finish(t, l, ship(t, l))
		_, err = from.Get(t.Context(), old)
		wantError(t, "replaced", err, storage.ErrUnavailable)

		ref, from, err = b.Snapshot(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Delete(t.Context(), "session-s/"+ref.Objects[0]); err != nil {
			t.Fatal(err)
		}
		_, err = from.Get(t.Context(), ref.Objects[0])
		wantError(t, "lost", err, snapshot.ErrCorrupt)
	})
}
