package storage_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

const ttl = time.Minute

// bubble runs a test by a clock of its own, on a store in memory. The first worker reaches it through faults.
func bubble(t *testing.T, test func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := storagetest.NewMemory()
		test(t, store, storagetest.NewFaulty(store))
	})
}

func isDone(l *storage.Lease) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

func TestLeaseIsRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		for range 30 {
			<-time.After(ttl / 2)
			_, err := worker(store, "b", ttl).Acquire(t.Context(), "s", false, keep)
			wantError(t, "Acquire", err, storage.ErrBusy)
			if err := l.Valid(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestDeadAttemptIsTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		log := ship(t, l)
		say(t, log, "one", "two")
		<-time.After(2 * time.Second)
		l.Close() // as far as others can see, a worker killed with -9
		began := time.Now()
		b := worker(store, "b", ttl)
		for {
			next, err := b.Acquire(t.Context(), "s", true, keep)
			if err == nil {
				defer next.Close()
				break
			}
			wantError(t, "Acquire", err, storage.ErrBusy)
			<-time.After(time.Second)
		}
		if took := time.Since(began); took < ttl-2*time.Second || took > ttl+ttl/4+5*time.Second {
			t.Errorf("taken after %v", took)
		}
		want := []string{"1-1 message", "1-2 message", "1-lost worker_lost"}
		if diff := cmp.Diff(want, history(t, b, "s", event.ID{})); diff != "" {
			t.Error(diff)
		}
		if m, err := b.Metadata(t.Context(), "s"); err != nil || m.ClosedThrough != 1 || m.Attempt != 2 {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

func TestTwoCrashesInARow(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		log := ship(t, l)
		say(t, log, "one")
		<-time.After(2 * time.Second)
		l.Close()
		<-time.After(2 * ttl)

		// The second one dies when it has the fence and has not closed the first one's attempt.
		faults.Set(func(op storagetest.Op) storagetest.Outcome {
			if op.Name == "List" {
				return storagetest.Hanging
			}
			return storagetest.Served
		})
		ctx, die := context.WithCancel(t.Context())
		time.AfterFunc(ttl/2, func() {
			faults.Set(storagetest.AllAway)
			die()
		})
		_, err := worker(faults, "b", ttl).Acquire(ctx, "s", false, keep)
		wantError(t, "Acquire", err, context.Canceled)

		<-time.After(2 * ttl)
		third := acquire(t, worker(store, "c", ttl), "s")
		if third.Attempt() != 3 {
			t.Errorf("attempt %d", third.Attempt())
		}
		log = ship(t, third)
		say(t, log, "three")
		finish(t, third, log)
		want := []string{"1-1 message", "1-lost worker_lost", "2-lost worker_lost", "3-1 message", "3-2 completed"}
		if diff := cmp.Diff(want, history(t, worker(store, "r", ttl), "s", event.ID{})); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFrozenHolderIsFenced(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		l := acquire(t, worker(faults, "a", ttl), "s")
		log := ship(t, l)
		say(t, log, "one")
		<-time.After(2 * time.Second)
		faults.Set(storagetest.AllHanging) // nothing of it comes through, as if it did not run
		say(t, log, "unseen")
		<-time.After(2 * ttl)
		taker := acquire(t, worker(store, "b", ttl), "s")
		<-time.After(ttl)
		if isDone(l) {
			t.Error("unreachable is not replaced")
		}

		faults.Set(nil)
		for name, err := range map[string]error{
			"Valid":  l.Valid(t.Context()),
			"Update": l.Update(t.Context(), func(m *storage.Metadata) { m.SessionName = "zombie" }),
			"Flush":  l.Flush(t.Context()),
			"End":    l.End(t.Context(), nothing),
			"Put":    l.Objects().Put(t.Context(), "x", nil),
		} {
			wantError(t, name, err, storage.ErrReplaced)
		}
		if !isDone(l) || !errors.Is(l.Err(), storage.ErrReplaced) {
			t.Error("the holder does not know that it is replaced")
		}
		l.Close()
		log = ship(t, taker)
		finish(t, taker, log)
		want := []string{"1-1 message", "1-lost worker_lost", "2-1 completed"}
		if diff := cmp.Diff(want, history(t, worker(store, "r", ttl), "s", event.ID{})); diff != "" {
			t.Error(diff)
		}
		if m := taker.Metadata(); m.SessionName != "" || len(keys(t, store, "session-s/snapshot")) != 0 {
			t.Errorf("the zombie has written: %+v", m)
		}
	})
}

// TestHolderHearsOfItsReplacement by itself, at its next renewal, without being called.
func TestHolderHearsOfItsReplacement(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		l := acquire(t, worker(faults, "a", ttl), "s")
		ship(t, l)
		faults.Set(storagetest.AllAway)
		<-time.After(2 * ttl)
		acquire(t, worker(store, "b", ttl), "s")
		faults.Set(nil)
		<-time.After(ttl / 4)
		if !isDone(l) {
			t.Error("not replaced yet")
		}
	})
}

func TestHolderWritesNothingAfterThreeQuarters(t *testing.T) {
	bubble(t, func(t *testing.T, _ *storagetest.Memory, faults *storagetest.Faulty) {
		l := acquire(t, worker(faults, "a", ttl), "s")
		log := ship(t, l)
		var written []string
		faults.Set(func(op storagetest.Op) storagetest.Outcome {
			if op.Key == "session-s/.session-metadata.json" {
				return storagetest.Away
			}
			if op.Name == "PutIf" || op.Name == "Put" {
				written = append(written, op.Key)
			}
			return storagetest.Served
		})
		<-time.After(ttl*3/4 - time.Second)
		if err := l.Valid(t.Context()); err != nil {
			t.Errorf("before three quarters: %v", err)
		}
		<-time.After(2 * time.Second)
		say(t, log, "too late")
		ctx, cancel := context.WithTimeout(t.Context(), ttl)
		defer cancel()
		for name, err := range map[string]error{"Valid": l.Valid(ctx), "Flush": l.Flush(ctx), "Put": l.Objects().Put(ctx, "x", nil)} {
			wantError(t, name, err, storage.ErrUnavailable)
			wantError(t, name, err, context.DeadlineExceeded)
		}
		if len(written) != 0 {
			t.Errorf("written: %q", written)
		}
		faults.Set(nil)
		if err := l.Flush(t.Context()); err != nil {
			t.Errorf("after a renewal: %v", err)
		}
	})
}

// TestHolderRenewsFirstAfterAnOutage: many takers wait for the store with it, and all see a lease long expired by its age.
func TestHolderRenewsFirstAfterAnOutage(t *testing.T) {
	for _, outage := range []storagetest.Fault{storagetest.AllAway, storagetest.AllHanging} {
		bubble(t, func(t *testing.T, _ *storagetest.Memory, faults *storagetest.Faulty) {
			l := acquire(t, worker(faults, "a", ttl), "s")
			faults.Set(outage)
			<-time.After(10 * ttl)
			results := make(chan error, 10)
			for i := range cap(results) {
				go func() {
					for {
						taken, err := worker(faults, fmt.Sprint(i), ttl).Acquire(t.Context(), "s", false, keep)
						if err == nil {
							taken.Close()
						}
						if !errors.Is(err, storage.ErrUnavailable) {
							results <- err
							return
						}
						<-time.After(time.Second)
					}
				}()
			}
			<-time.After(time.Minute)
			faults.Set(nil)
			for range cap(results) {
				wantError(t, "Acquire", <-results, storage.ErrBusy)
			}
			if err := l.Valid(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestInitDecides(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		s := worker(store, "a", ttl)
		refused := errors.New("another repository")
		_, err := s.Acquire(t.Context(), "s", false, func(m *storage.Metadata) error {
			if m.Attempt != 1 || m.SessionID != "s" || m.CreatedAt.IsZero() {
				t.Errorf("new: %+v", m)
			}
			return refused
		})
		wantError(t, "Acquire", err, refused)
		if left := keys(t, store, ""); len(left) != 0 {
			t.Errorf("a refused Acquire leaves %q", left)
		}
		github := &storage.GitHub{RepoURL: "https://example.com/r"}
		l, err := s.Acquire(t.Context(), "s", false, func(m *storage.Metadata) error {
			m.GitHub = github
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		github.RepoURL = "changed by the caller"
		l.Metadata().GitHub.RepoURL = "changed in a copy"
		if got := l.Metadata().GitHub.RepoURL; got != "https://example.com/r" {
			t.Errorf("the lease shares its metadata: %s", got)
		}
		if err := l.End(t.Context(), nothing); err != nil {
			t.Fatal(err)
		}
		_, err = s.Acquire(t.Context(), "s", false, func(m *storage.Metadata) error {
			if m.Attempt != 2 || m.GitHub == nil {
				t.Errorf("stored: %+v", m)
			}
			return refused
		})
		wantError(t, "Acquire", err, refused)
		if m, err := s.Metadata(t.Context(), "s"); err != nil || m.Attempt != 1 || m.Status != storage.StatusFailed {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

func TestCallsAfterTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		finish(t, l, ship(t, l))
		before := content(t, store, "session-s/.session-metadata.json")
		if l.Update(t.Context(), nothing) == nil || l.End(t.Context(), nothing) == nil {
			t.Error("Update and End after End are errors")
		}
		<-time.After(ttl)
		if after := content(t, store, "session-s/.session-metadata.json"); after != before || isDone(l) {
			t.Errorf("moved after the end: %s, replaced %v", after, isDone(l))
		}
	})
}

// TestManyAttemptsStayCheap counts what the 1,000th attempt asks of the store.
func TestManyAttemptsStayCheap(t *testing.T) {
	bubble(t, func(t *testing.T, _ *storagetest.Memory, faults *storagetest.Faulty) {
		requests := make(map[string]int)
		s := worker(faults, "a", ttl)
		for range 999 {
			l := acquire(t, s, "s")
			finish(t, l, ship(t, l))
		}
		faults.Set(func(op storagetest.Op) storagetest.Outcome {
			requests[op.Name]++
			return storagetest.Served
		})
		l := acquire(t, s, "s")
		log := ship(t, l)
		say(t, log, "hello")
		finish(t, l, log)
		want := map[string]int{"Get": 1, "PutIf": 4, "List": 2, "Delete": 2}
		for name, n := range requests {
			if n > want[name] {
				t.Errorf("%d requests %s, want %d at most", n, name, want[name])
			}
		}
		clear(requests)
		got := history(t, s, "s", event.ID{Attempt: 999, N: 1})
		if diff := cmp.Diff([]string{"1000-1 message", "1000-2 completed"}, got); diff != "" {
			t.Error(diff)
		}
		if requests["Get"] > 3 || requests["List"] > 1 {
			t.Errorf("a reader of the last attempt: %v", requests)
		}
	})
}

// TestTakerCountsOnlyWhileTheStoreAnswers: it has seen an old lease, and then nothing for as long as it had to watch it.
func TestTakerCountsOnlyWhileTheStoreAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, holder *storagetest.Faulty) {
		l := acquire(t, worker(holder, "a", ttl), "s")
		holder.Set(storagetest.AllAway)
		<-time.After(2 * ttl)
		taker := storagetest.NewFaulty(store)
		result := make(chan error, 1)
		go func() {
			_, err := worker(taker, "b", ttl).Acquire(t.Context(), "s", false, keep)
			result <- err
		}()
		<-time.After(ttl / 8)
		taker.Set(storagetest.AllAway)
		<-time.After(ttl)
		taker.Set(nil)
		<-time.After(ttl / 8)
		holder.Set(nil)
		if err := <-result; !errors.Is(err, storage.ErrBusy) || isDone(l) {
			t.Errorf("Acquire() = %v, replaced %v", err, isDone(l))
		}
	})
}
