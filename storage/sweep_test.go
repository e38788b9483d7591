package storage_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

const week = 7 * 24 * time.Hour

// sweepAll sweeps page by page, as often as it takes.
func sweepAll(t *testing.T, s *storage.Sessions, limit int, ttl time.Duration) (removed, pages int) {
	t.Helper()
	for cursor := ""; ; {
		next, n, err := s.Sweep(t.Context(), cursor, limit, ttl)
		if err != nil {
			t.Fatal(err)
		}
		removed, pages = removed+n, pages+1
		if next == "" {
			return removed, pages
		}
		cursor = next
	}
}

// used runs a job in a session.
func used(t *testing.T, s *storage.Sessions, id string) {
	t.Helper()
	l := acquire(t, s, id)
	finish(t, l, ship(t, l))
}

func ids(t *testing.T, s *storage.Sessions) (found []string) {
	t.Helper()
	listed, _, err := s.List(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range listed {
		found = append(found, m.SessionID)
	}
	return found
}

func TestSweep(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		a, b := worker(store, "a", ttl), worker(store, "b", ttl)
		for i := range 5 {
			used(t, a, fmt.Sprintf("old-%d", i))
		}
		dead := acquire(t, worker(store, "dead", ttl), "dead")
		dead.Close()
		acquire(t, a, "running")
		<-time.After(week + time.Second)
		used(t, a, "young")
		used(t, a, "old-3") // used again

		if removed, pages := sweepAll(t, b, 3, week); removed != 5 || pages != 3 {
			t.Errorf("removed %d sessions in %d pages", removed, pages)
		}
		if diff := cmp.Diff([]string{"old-3", "running", "young"}, ids(t, b)); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
		if removed, _ := sweepAll(t, b, 100, week); removed != 0 {
			t.Errorf("a second round removed %d", removed)
		}
	})
}

// reading is a store in which something happens after each reading.
type reading struct {
	storage.Store
	afterGet func(key string)
}

func (r reading) Get(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	body, info, err := r.Store.Get(ctx, key)
	r.afterGet(key)
	return body, info, err
}

// sweptUnder is a worker that finds the session s used by another one when it has read so often.
func sweptUnder(t *testing.T, store storage.Store, other *storage.Sessions, moment int) *storage.Sessions {
	gets := 0
	return worker(reading{store, func(string) {
		if gets++; gets == moment {
			used(t, other, "s")
		}
	}}, "b", ttl)
}

// TestSweepSparesWhatIsResumedMeanwhile, at whichever moment of the sweep it is, and however short the job.
func TestSweepSparesWhatIsResumedMeanwhile(t *testing.T) {
	for moment := 1; moment <= 2; moment++ {
		bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
			a := worker(store, "a", ttl)
			used(t, a, "s")
			<-time.After(week + time.Second)
			b := sweptUnder(t, store, a, moment)
			if removed, _ := sweepAll(t, b, 10, week); removed != 0 {
				t.Errorf("resumed after reading %d, and swept", moment)
			}
			if diff := cmp.Diff([]string{"s"}, ids(t, a)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSweepRemovesTombstones after a day, but not under a session that is begun anew at whichever moment of the sweep.
func TestSweepRemovesTombstones(t *testing.T) {
	for moment := range 3 {
		bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
			a := worker(store, "a", ttl)
			filled(t, a, "s")
			if err := a.Delete(t.Context(), "s"); err != nil {
				t.Fatal(err)
			}
			<-time.After(23 * time.Hour)
			sweepAll(t, a, 10, time.Hour)
			if left := keys(t, store, ""); len(left) != 1 {
				t.Errorf("left after 23 hours: %q", left)
			}
			<-time.After(2 * time.Hour)
			b := sweptUnder(t, store, a, moment)
			if removed, _ := sweepAll(t, b, 10, week); removed != 0 {
				t.Errorf("%d sessions were swept", removed)
			}
			if left := keys(t, store, ""); moment == 0 && len(left) != 0 {
				t.Errorf("left after 25 hours: %q", left)
			}
			used(t, a, "s")
			if m, err := a.Metadata(t.Context(), "s"); err != nil || (m.Attempt == 1) != (moment == 0) {
				t.Errorf("begun anew: %+v, %v", m, err)
			}
		})
	}
}

// late is a store in which something happens before the answer to a put is there.
type late struct {
	storage.Store
	afterPut func()
}

func (l late) PutIf(ctx context.Context, key string, data []byte, cond storage.Condition) (string, error) {
	version, err := l.Store.PutIf(ctx, key, data, cond)
	l.afterPut()
	return version, err
}

// TestFrozenSweeper has taken a tombstone, and goes on when its lease has expired and the session was begun anew.
func TestFrozenSweeper(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		a := worker(store, "a", ttl)
		used(t, a, "s")
		if err := a.Delete(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		<-time.After(25 * time.Hour)
		frozen := false
		s := worker(late{store, func() {
			if !frozen {
				frozen = true
				<-time.After(2 * ttl)
				used(t, a, "s")
			}
		}}, "sweeper", ttl)
		_, _, err := s.Sweep(t.Context(), "", 10, week)
		wantError(t, "Sweep", err, storage.ErrUnavailable)
		if diff := cmp.Diff([]string{"s"}, ids(t, a)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSweepFinishesDeletions that were cut short, however young the sessions are, once nobody is at them any more.
func TestSweepFinishesDeletions(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		a, b := worker(faults, "a", ttl), worker(store, "b", ttl)
		filled(t, a, "s")
		used(t, a, "young")
		faults.Set(func(op storagetest.Op) storagetest.Outcome {
			if op.Name == "Delete" {
				return storagetest.Away
			}
			return storagetest.Served
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantError(t, "Delete", a.Delete(ctx, "s"), storage.ErrUnavailable)
		if removed, _ := sweepAll(t, b, 10, week); removed != 0 {
			t.Error("swept while its deletion may still be going on")
		}
		<-time.After(2 * ttl)
		if removed, _ := sweepAll(t, b, 10, week); removed != 1 {
			t.Errorf("%d deletions were finished", removed)
		}
		if diff := cmp.Diff([]string{"session-s/.session-metadata.json"}, keys(t, store, "session-s/")); diff != "" {
			t.Errorf("what is left: %s", diff)
		}
		if diff := cmp.Diff([]string{"young"}, ids(t, b)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSweepPassesWhatGivesNoAnswer: one session that the store cannot serve does not keep it from those behind.
func TestSweepPassesWhatGivesNoAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		for _, id := range []string{"a", "b", "c"} {
			used(t, worker(store, "a", ttl), id)
		}
		<-time.After(week + time.Second)
		faults.Set(func(op storagetest.Op) storagetest.Outcome {
			if op.Key == "session-b/.session-metadata.json" {
				return storagetest.Away
			}
			return storagetest.Served
		})
		s := worker(faults, "sweeper", ttl)
		cursor, removed, err := s.Sweep(t.Context(), "", 10, week)
		wantError(t, "Sweep", err, storage.ErrUnavailable)
		if cursor != "b" || removed != 1 {
			t.Errorf("Sweep() = %q, %d", cursor, removed)
		}
		if cursor, removed, err = s.Sweep(t.Context(), cursor, 10, week); cursor != "" || removed != 1 || err != nil {
			t.Errorf("the next Sweep() = %q, %d, %v", cursor, removed, err)
		}
		faults.Set(storagetest.AllAway)
		if cursor, _, err = s.Sweep(t.Context(), "a", 10, week); cursor != "a" || err == nil {
			t.Errorf("Sweep() of a store that is away = %q, %v", cursor, err)
		}
	})
}

func TestSweepOfRealStores(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		s := worker(store, "a", time.Minute)
		filled(t, s, "old")
		l := acquire(t, s, "running")
		if removed, _ := sweepAll(t, s, 10, time.Hour); removed != 0 {
			t.Errorf("an hour is not over, and %d sessions are gone", removed)
		}
		eventually(t, "the old session is swept", func() bool {
			sweepAll(t, worker(store, "b", time.Minute), 10, time.Second)
			return len(ids(t, s)) == 1
		})
		if diff := cmp.Diff([]string{"session-old/.session-metadata.json"}, keys(t, store, "session-old/")); diff != "" {
			t.Errorf("what is left: %s", diff)
		}
		if err := l.Valid(t.Context()); err != nil {
			t.Errorf("the running session: %v", err)
		}
	})
}
