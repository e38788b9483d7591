package storage_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// stores runs a test on both real stores. Its leases are short, but a bucket's clock shows whole seconds.
func stores(t *testing.T, test func(t *testing.T, store storage.Store)) {
	t.Run("dir", func(t *testing.T) {
		t.Parallel()
		test(t, newDir(t))
	})
	t.Run("minio", func(t *testing.T) {
		t.Parallel()
		test(t, storagetest.MinIO(t).Store(t))
	})
}

const shortTTL = 2 * time.Second

func TestSessionIsHeldByOne(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		a, b := worker(store, "a", time.Minute), worker(store, "b", time.Minute)
		_, err := a.Acquire(t.Context(), "s", true, keep)
		wantError(t, "Acquire of an unknown session", err, storage.ErrNotFound)
		if found := keys(t, store, ""); len(found) != 0 {
			t.Errorf("it has left %q", found)
		}

		l := acquire(t, a, "s")
		for _, s := range []*storage.Sessions{a, b} {
			_, err = s.Acquire(t.Context(), "s", false, keep)
			wantError(t, "Acquire of a held session", err, storage.ErrBusy)
		}
		if l.Attempt() != 1 || l.Resumed() {
			t.Errorf("attempt %d, resumed %v", l.Attempt(), l.Resumed())
		}
		finish(t, l, ship(t, l))

		l = acquire(t, b, "s")
		if l.Attempt() != 2 || !l.Resumed() || l.Metadata().Status != storage.StatusRunning {
			t.Errorf("attempt %d, resumed %v, %+v", l.Attempt(), l.Resumed(), l.Metadata())
		}
		if err := l.End(t.Context(), nothing); err != nil {
			t.Fatal(err)
		}
		m, err := a.Metadata(t.Context(), "s")
		if err != nil || m.Status != storage.StatusCompleted || m.Lease != nil || m.Attempt != 2 {
			t.Errorf("after an attempt that said nothing: %+v, %v", m, err)
		}
	})
}

func TestRacingCreatorsOfASession(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		oneWins(t, store, time.Minute)
	})
}

func TestRacingTakers(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		dead := acquire(t, worker(store, "dead", shortTTL), "s")
		log := ship(t, dead)
		say(t, log, "a word")
		if err := dead.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		dead.Close()
		<-time.After(shortTTL)
		eventually(t, "the lease's end", func() bool {
			m, err := store.Stat(t.Context(), "session-s/.session-metadata.json")
			if err != nil || m.Version == "" {
				t.Fatal(err)
			}
			_, info, err := store.Get(t.Context(), "session-s/.session-metadata.json")
			return err == nil && info.Age > shortTTL+time.Second
		})
		l := oneWins(t, store, shortTTL)
		if l.Attempt() != 2 {
			t.Errorf("attempt %d", l.Attempt())
		}
		want := []string{"1-1 message", "1-lost worker_lost"}
		if diff := cmp.Diff(want, history(t, worker(store, "reader", shortTTL), "s", event.ID{})); diff != "" {
			t.Error(diff)
		}
	})
}

// oneWins lets several workers acquire a session at the same moment.
func oneWins(t *testing.T, store storage.Store, ttl time.Duration) *storage.Lease {
	t.Helper()
	var mu sync.Mutex
	var winners []*storage.Lease
	var race sync.WaitGroup
	for i := range 8 {
		race.Go(func() {
			l, err := worker(store, fmt.Sprint("racer-", i), ttl).Acquire(t.Context(), "s", false, keep)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, l)
			} else if !errors.Is(err, storage.ErrBusy) {
				t.Errorf("racer %d: %v", i, err)
			}
		})
	}
	race.Wait()
	for _, l := range winners {
		t.Cleanup(l.Close)
	}
	if len(winners) != 1 {
		t.Fatalf("%d racers hold the session", len(winners))
	}
	return winners[0]
}

// TestFollowedFromAnotherWorker has a job whose log spans several segments, and readers elsewhere that come at any time.
func TestFollowedFromAnotherWorker(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		const texts = 400
		l := acquire(t, worker(store, "a", time.Minute), "s")
		log := ship(t, l)
		say(t, log, "first")
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		readers := make([]*heard, 4)
		var reading sync.WaitGroup
		for i := range readers {
			readers[i] = new(heard)
			reading.Go(func() {
				err := worker(store, "r", time.Minute).Follow(t.Context(), "s", event.ID{Attempt: 1, N: i}, readers[i].emit)
				if err != nil {
					t.Error(err)
				}
			})
		}
		for i := range texts - 1 {
			say(t, log, strings.Repeat("x", 10_000))
			if i%100 == 0 {
				<-time.After(400 * time.Millisecond)
			}
		}
		finish(t, l, log)
		reading.Wait()
		want := events(1, texts, fmt.Sprintf("1-%d completed", texts+1))
		for i, r := range readers {
			if diff := cmp.Diff(want[i:], r.all()); diff != "" {
				t.Errorf("reader %d: %s", i, diff)
			}
		}
		segments := keys(t, store, "session-s/.stream-events")
		if len(segments) < 4 || segments[0] != "session-s/.stream-events.jsonl.00000001.0000000001" {
			t.Errorf("segments: %q", segments)
		}
		checkSegments(t, store, segments, log)
	})
}

// checkSegments wants the segments to be the log, cut at ends of lines into pieces of one MiB or a line more.
func checkSegments(t *testing.T, store storage.Store, segments []string, log interface {
	ReadAt([]byte, int64) (int, error)
	Written() (int, int64)
},
) {
	t.Helper()
	var whole strings.Builder
	n := 1
	for i, key := range segments {
		data := content(t, store, key)
		if !strings.HasSuffix(data, "\n") || !strings.HasSuffix(key, fmt.Sprintf(".%010d", n)) {
			t.Errorf("%s should begin with event %d", key, n)
		}
		if i < len(segments)-1 && (len(data) < 1<<20 || len(data) > 1<<20+20_000) {
			t.Errorf("%s is closed with %d bytes", key, len(data))
		}
		n += strings.Count(data, "\n")
		whole.WriteString(data)
	}
	_, size := log.Written()
	want := make([]byte, size)
	if _, err := log.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if whole.String() != string(want) {
		t.Error("the segments are not the log")
	}
}

func TestAbortFromElsewhere(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		a, b := worker(store, "a", shortTTL), worker(store, "b", shortTTL)
		_, err := b.RequestAbort(t.Context(), "s")
		wantError(t, "RequestAbort of an unknown session", err, storage.ErrNotFound)
		l := acquire(t, a, "s")
		for range 2 {
			if running, err := b.RequestAbort(t.Context(), "s"); !running || err != nil {
				t.Errorf("RequestAbort() = %v, %v", running, err)
			}
		}
		select {
		case <-l.Aborted():
		case <-time.After(20 * time.Second):
			t.Fatal("the holder does not hear of the abort")
		}
		finish(t, l, ship(t, l))
		if running, err := b.RequestAbort(t.Context(), "s"); running || err != nil {
			t.Errorf("RequestAbort() of a session at rest = %v, %v", running, err)
		}
		if left := keys(t, store, "session-s/.abort"); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
		next := acquire(t, a, "s")
		<-time.After(shortTTL / 2)
		select {
		case <-next.Aborted():
			t.Error("the next attempt is aborted too")
		default:
		}
	})
}

func TestList(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		s := worker(store, "a", time.Minute)
		ids := []string{"a", "a-b", "a.b", "a0", "B", "z_9"}
		for _, id := range ids {
			if err := acquire(t, s, id).End(t.Context(), nothing); err != nil {
				t.Fatal(err)
			}
		}
		for key, data := range map[string]string{
			"session-broken/.session-metadata.json": "{",
			"session-other/.session-metadata.json":  `{"schemaVersion":1,"sessionId":"a","attempt":1}`,
			"session-later/.session-metadata.json":  `{"schemaVersion":2,"sessionId":"later","attempt":1}`,
			"session-empty/.abort.00000001":         "{}", "session-..x/x": "", "elsewhere/x": "",
		} {
			if err := store.Put(t.Context(), key, strings.NewReader(data)); err != nil {
				t.Fatal(err)
			}
		}
		slices.SortFunc(ids, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
		for limit := 1; limit < 13; limit++ {
			var got []string
			for cursor, pages := "", 0; cursor != "" || pages == 0; pages++ {
				page, next, err := s.List(t.Context(), cursor, limit)
				if err != nil || len(page) > limit || pages > 20 {
					t.Fatal(page, pages, err)
				}
				for _, m := range page {
					got = append(got, m.SessionID)
				}
				cursor = next
			}
			if diff := cmp.Diff(ids, got); diff != "" {
				t.Errorf("in pages of %d: %s", limit, diff)
			}
		}
	})
}

func TestPing(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store storage.Store) {
		faulty := storagetest.NewFaulty(store)
		s := worker(faulty, "a", time.Minute)
		if err := s.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		faulty.Set(storagetest.AllAway)
		wantError(t, "Ping", s.Ping(t.Context()), storage.ErrUnavailable)
	})
}
