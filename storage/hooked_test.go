package storage_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// hooked is a store in which something happens before each listing.
type hooked struct {
	storage.Store
	beforeList func(prefix string)
}

func (h hooked) List(ctx context.Context, prefix, after string, limit int) ([]storage.Info, error) {
	h.beforeList(prefix)
	return h.Store.List(ctx, prefix, after, limit)
}

// TestAttemptThatBeginsWhileOneReads is told by the next look, whole, and not in part by this one.
func TestAttemptThatBeginsWhileOneReads(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		a := worker(store, "a", ttl)
		l := acquire(t, a, "s")
		finish(t, l, ship(t, l))
		var next *storage.Lease
		r := worker(hooked{store, func(string) {
			if next != nil {
				return
			}
			next = acquire(t, a, "s")
			log := ship(t, next)
			say(t, log, "one")
			if err := next.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		}}, "r", ttl)
		if diff := cmp.Diff([]string{"1-1 completed"}, history(t, r, "s", event.ID{})); diff != "" {
			t.Error(diff)
		}
		want := []string{"1-1 completed", "2-1 message"}
		if diff := cmp.Diff(want, history(t, r, "s", event.ID{})); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSweepSparesItsOwnAttempt, whose objects have no name yet.
func TestSweepSparesItsOwnAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		if err := l.End(t.Context(), nothing); err != nil {
			t.Fatal(err)
		}
		saved, swept := make(chan struct{}), make(chan struct{})
		b := worker(hooked{store, func(prefix string) {
			if strings.HasSuffix(prefix, "/snapshot/") {
				<-saved
			}
			if strings.HasSuffix(prefix, "/.abort.") {
				close(swept)
			}
		}}, "b", ttl)
		l = acquire(t, b, "s")
		if err := l.Objects().Put(t.Context(), "workspace.tar", strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		close(saved)
		<-swept
		synctest.Wait() // for its deletions
		name(t, l)
		if got := restore(t, l); got != "x" {
			t.Errorf("restored %q", got)
		}
	})
}

// staleList is a store whose listings look at each object before they look at what has come behind it.
type staleList struct {
	storage.Store
	seen map[string]storage.Info
}

func (s staleList) List(ctx context.Context, prefix, after string, limit int) ([]storage.Info, error) {
	list, err := s.Store.List(ctx, prefix, after, limit)
	for i, info := range list {
		if old, ok := s.seen[info.Key]; ok && i < len(list)-1 {
			list[i] = old
		}
		s.seen[info.Key] = info
	}
	return list, err
}

func TestFollowThroughStaleListings(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		log := ship(t, l)
		h, result := follow(t, worker(staleList{store, make(map[string]storage.Info)}, "r", ttl), event.ID{})
		for range 60 {
			say(t, log, strings.Repeat("x", 300_000))
			<-time.After(170 * time.Millisecond)
		}
		finish(t, l, log)
		if err := <-result; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(events(1, 60, "1-61 completed"), h.all()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestFrozenTaker gets the session of a dead worker and loses it before it could begin: to its caller it is another's.
func TestFrozenTaker(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		acquire(t, worker(store, "dead", ttl), "s").Close()
		<-time.After(2 * ttl)
		var next *storage.Lease
		frozen := worker(hooked{faults, func(string) {
			faults.Set(storagetest.AllHanging)
			<-time.After(2 * ttl)
			next = acquire(t, worker(store, "next", ttl), "s")
			faults.Set(nil)
		}}, "frozen", ttl)
		_, err := frozen.Acquire(t.Context(), "s", false, keep)
		wantError(t, "Acquire", err, storage.ErrBusy)
		if next.Attempt() != 3 || next.Valid(t.Context()) != nil {
			t.Errorf("the successor has attempt %d", next.Attempt())
		}
	})
}
