package storage_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// filled makes a session with two attempts, a snapshot and a name.
func filled(t *testing.T, s *storage.Sessions, id string) {
	t.Helper()
	for range 2 {
		l := acquire(t, s, id)
		log := ship(t, l)
		say(t, log, "one", "two")
		if err := l.Objects().Put(t.Context(), "archive", strings.NewReader("work")); err != nil {
			t.Fatal(err)
		}
		if err := l.Update(t.Context(), func(m *storage.Metadata) { m.SessionName = "canary name" }); err != nil {
			t.Fatal(err)
		}
		finish(t, l, log)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		s := worker(store, "a", time.Minute)
		filled(t, s, "gone")
		filled(t, s, "gone-not")
		for range 2 { // it is idempotent
			if err := s.Delete(t.Context(), "gone"); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete(t.Context(), "never-there"); err != nil {
			t.Errorf("Delete of an unknown session: %v", err)
		}

		if diff := cmp.Diff([]string{"session-gone/.session-metadata.json"}, keys(t, store, "session-gone/")); diff != "" {
			t.Errorf("what is left: %s", diff)
		}
		_, err := s.Metadata(t.Context(), "gone")
		wantError(t, "Metadata", err, storage.ErrNotFound)
		wantError(t, "Events", s.Events(t.Context(), "gone", event.ID{}, func([]byte) error { return nil }), storage.ErrNotFound)
		wantError(t, "Follow", s.Follow(t.Context(), "gone", event.ID{}, func([]byte) error { return nil }), storage.ErrNotFound)
		_, err = s.RequestAbort(t.Context(), "gone")
		wantError(t, "RequestAbort", err, storage.ErrNotFound)
		_, err = s.Acquire(t.Context(), "gone", true, keep)
		wantError(t, "Acquire of what must exist", err, storage.ErrNotFound)
		listed, _, err := s.List(t.Context(), "", 10)
		if err != nil || len(listed) != 1 || listed[0].SessionID != "gone-not" || len(history(t, s, "gone-not", event.ID{})) != 6 {
			t.Errorf("List: %+v, %v", listed, err)
		}

		l := acquire(t, s, "gone")
		if l.Resumed() || l.Attempt() <= 2 || l.Metadata().SessionName != "" {
			t.Errorf("a new session with the ID: resumed %t, %+v", l.Resumed(), l.Metadata())
		}
		log := ship(t, l)
		say(t, log, "new")
		finish(t, l, log)
		if got := history(t, s, "gone", event.ID{}); len(got) != 2 || !strings.HasSuffix(got[1], "completed") {
			t.Errorf("its history: %q", got)
		}
	})
}

func TestDeleteOfAHeldSession(t *testing.T) {
	t.Parallel()
	store := newDir(t)
	a, b := worker(store, "a", time.Minute), worker(store, "b", time.Minute)
	l := acquire(t, a, "s")
	for _, s := range []*storage.Sessions{a, b} {
		wantError(t, "Delete", s.Delete(t.Context(), "s"), storage.ErrBusy)
	}
	finish(t, l, ship(t, l))
	if err := b.Delete(t.Context(), "s"); err != nil {
		t.Error(err)
	}
}

// A dead worker's session can be deleted once its lease has expired.
func TestDeleteAfterADeadWorker(t *testing.T) {
	t.Parallel()
	store := newDir(t)
	l := acquire(t, worker(store, "dead", shortTTL), "s")
	say(t, ship(t, l), "unfinished")
	l.Close()
	b := worker(store, "b", shortTTL)
	eventually(t, "the deletion", func() bool { return b.Delete(t.Context(), "s") == nil })
	if got := keys(t, store, "session-s/"); len(got) != 1 {
		t.Errorf("what is left: %q", got)
	}
}

// A deletion that is cut short leaves no session, and whoever comes next finishes it.
func TestDeletionCutShort(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(t *testing.T, s *storage.Sessions){
		"deleted again": func(t *testing.T, s *storage.Sessions) {
			if err := s.Delete(t.Context(), "s"); err != nil {
				t.Error(err)
			}
		},
		"begun again": func(t *testing.T, s *storage.Sessions) {
			l := acquire(t, s, "s")
			if l.Resumed() {
				t.Error("the deleted session is resumed")
			}
			finish(t, l, ship(t, l))
			if got := history(t, s, "s", event.ID{}); len(got) != 1 {
				t.Errorf("its history: %q", got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := storagetest.NewFaulty(storagetest.NewMemory())
			s := worker(store, "a", time.Minute)
			filled(t, s, "s")
			store.Set(func(op storagetest.Op) storagetest.Outcome {
				if op.Name == "Delete" {
					return storagetest.Away
				}
				return storagetest.Served
			})
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			wantError(t, "Delete", s.Delete(ctx, "s"), storage.ErrUnavailable)
			store.Set(nil)
			_, err := s.Metadata(t.Context(), "s")
			wantError(t, "Metadata", err, storage.ErrNotFound)
			next(t, s)
		})
	}
}

// TestDeletionWithoutItsLastMove: the session is not kept from others for as long as this process lives.
func TestDeletionWithoutItsLastMove(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		filled(t, worker(store, "a", ttl), "s")
		removed := false
		faults.Set(func(op storagetest.Op) storagetest.Outcome {
			removed = removed || op.Name == "Delete"
			if removed && op.Name == "PutIf" {
				return storagetest.Away
			}
			return storagetest.Served
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantError(t, "Delete", worker(faults, "a", ttl).Delete(ctx, "s"), storage.ErrUnavailable)
		faults.Set(nil)
		<-time.After(2 * ttl)
		if err := worker(store, "b", ttl).Delete(t.Context(), "s"); err != nil {
			t.Errorf("Delete by another: %v", err)
		}
	})
}

// TestFrozenDeleter goes on with its deletion when others have begun the session anew, and before it hears of them.
func TestFrozenDeleter(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		filled(t, worker(store, "a", ttl), "s")
		next := worker(store, "next", ttl)
		frozen := false
		deleter := worker(hooked{faults, func(prefix string) {
			if prefix != "session-s/" || frozen {
				return
			}
			frozen = true
			faults.Set(func(op storagetest.Op) storagetest.Outcome {
				if op.Key == "session-s/.session-metadata.json" {
					return storagetest.Hanging
				}
				return storagetest.Served
			})
			<-time.After(2 * ttl)
			l := acquire(t, next, "s")
			save(t, l, "new work")
			finish(t, l, ship(t, l))
			time.AfterFunc(time.Second, func() { faults.Set(nil) })
		}}, "deleter", ttl)
		wantError(t, "Delete", deleter.Delete(t.Context(), "s"), storage.ErrReplaced)
		if got := history(t, next, "s", event.ID{}); len(got) != 1 {
			t.Errorf("the new session's history: %q", got)
		}
		if got := restore(t, acquire(t, next, "s")); got != "new work" {
			t.Errorf("restored %q", got)
		}
	})
}

func TestTwoDeletionsAtOnce(t *testing.T) {
	t.Parallel()
	store := newDir(t)
	a, b := worker(store, "a", time.Minute), worker(store, "b", time.Minute)
	filled(t, a, "s")
	done := make(chan error, 2)
	for _, s := range []*storage.Sessions{a, b} {
		go func() { done <- s.Delete(t.Context(), "s") }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Logf("one of the two: %v", err)
			wantError(t, "Delete", err, storage.ErrBusy)
		}
	}
	if err := b.Delete(t.Context(), "s"); err != nil || len(keys(t, store, "session-s/")) != 1 {
		t.Errorf("Delete: %v; left: %q", err, keys(t, store, "session-s/"))
	}
}
