package storage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// follow reads in the background; the result comes when it ends.
func follow(t *testing.T, s *storage.Sessions, after event.ID) (*heard, <-chan error) {
	t.Helper()
	var h heard
	result := make(chan error, 1)
	go func() { result <- s.Follow(t.Context(), "s", after, h.emit) }()
	return &h, result
}

func TestFollowIsLessThanTwoSecondsBehind(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		log := ship(t, l)
		var mu sync.Mutex
		said := make(map[string]time.Time)
		result := make(chan error, 1)
		var worst time.Duration
		var told int
		go func() {
			result <- worker(store, "r", ttl).Follow(t.Context(), "s", event.ID{}, func(line []byte) error {
				mu.Lock()
				defer mu.Unlock()
				told++
				if at, ok := said[event.IDOf(line).String()]; ok {
					worst = max(worst, time.Since(at))
				}
				return nil
			})
		}()
		for i := range 100 {
			<-time.After(time.Duration(37*i%1700) * time.Millisecond)
			mu.Lock()
			said[fmt.Sprintf("1-%d", i+1)] = time.Now()
			mu.Unlock()
			say(t, log, "x")
		}
		finish(t, l, log)
		if err := <-result; err != nil || told != 101 || worst >= 2*time.Second {
			t.Errorf("%d events, at most %v behind, %v", told, worst, err)
		}
	})
}

func TestTerminalEventIsSeenAfterTheMetadata(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		log := ship(t, l)
		say(t, log, "one")
		r := worker(store, "r", ttl)
		h, result := follow(t, r, event.ID{})
		if err := errors.Join(log.Finish(event.Completed{}), l.Flush(t.Context())); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Second)
		if diff := cmp.Diff(events(1, 1), h.all()); diff != "" {
			t.Errorf("before the last move: %s", diff)
		}
		if diff := cmp.Diff(events(1, 1), history(t, r, "s", event.ID{})); diff != "" {
			t.Errorf("Events, before the last move: %s", diff)
		}
		if err := l.End(t.Context(), nothing); err != nil {
			t.Fatal(err)
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(events(1, 1, "1-2 completed"), h.all()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWorkerLostIsToldAndThenStored(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		log := ship(t, l)
		say(t, log, "one", "two")
		<-time.After(2 * time.Second)
		r := worker(store, "r", ttl)
		fromStart, first := follow(t, r, event.ID{})
		// A reader that has seen more than was stored, on the worker that died, is told too.
		ahead, second := follow(t, r, event.ID{Attempt: 1, N: 57})
		<-time.After(time.Second)
		l.Close()
		died := time.Now()
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
		if took := time.Since(died); took > ttl+ttl/4+5*time.Second {
			t.Errorf("told after %v", took)
		}
		lost := "1-lost worker_lost"
		if diff := cmp.Diff(events(1, 2, lost), fromStart.all()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{lost}, ahead.all()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(events(1, 2), history(t, r, "s", event.ID{})); diff != "" {
			t.Errorf("a reader has stored something: %s", diff)
		}

		next := acquire(t, worker(store, "b", ttl), "s")
		log = ship(t, next)
		say(t, log, "three")
		finish(t, next, log)
		late, result := follow(t, r, event.ID{Attempt: 1, N: 57})
		if err := <-result; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{lost, "2-1 message", "2-2 completed"}, late.all()); diff != "" {
			t.Error(diff)
		}
		seen, result := follow(t, r, event.ID{Attempt: 1, N: event.Lost})
		if err := <-result; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"2-1 message", "2-2 completed"}, seen.all()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestDeathAfterTheTerminalEvent: the last segment is stored and the last move is not.
func TestDeathAfterTheTerminalEvent(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		l := acquire(t, worker(store, "a", ttl), "s")
		if err := l.Update(t.Context(), func(m *storage.Metadata) { m.GitHub = &storage.GitHub{Branch: "b"} }); err != nil {
			t.Fatal(err)
		}
		log := ship(t, l)
		pushed := true
		err := log.Finish(event.Completed{
			Branch: "b-2", CommitHash: "abc", Pushed: &pushed, Usage: &event.Usage{InputTokens: 7, CostUSD: 0.5},
		})
		if err := errors.Join(err, l.Flush(t.Context())); err != nil {
			t.Fatal(err)
		}
		l.Close()
		r := worker(store, "r", ttl)
		h, result := follow(t, r, event.ID{})
		if err := <-result; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"1-1 completed"}, h.all()); diff != "" {
			t.Error(diff)
		}
		m := acquire(t, worker(store, "b", ttl), "s").Metadata()
		if diff := cmp.Diff([]string{"1-1 completed"}, history(t, r, "s", event.ID{})); diff != "" {
			t.Errorf("the taker has stored something: %s", diff)
		}
		want := &storage.GitHub{Branch: "b-2", Pushed: "abc"}
		if diff := cmp.Diff(want, m.GitHub); diff != "" || m.Usage.InputTokens != 7 || m.Usage.CostUSD != 0.5 || m.ClosedThrough != 1 {
			t.Errorf("not mended: %+v, %s", m, diff)
		}
	})
}

func TestFollowBearsAnOutage(t *testing.T) {
	for name, outage := range map[string]storagetest.Fault{"away": storagetest.AllAway, "hanging": storagetest.AllHanging} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
				l := acquire(t, worker(faults, "a", ttl), "s")
				log := ship(t, l)
				say(t, log, "1", "2")
				<-time.After(2 * time.Second)
				h, result := follow(t, worker(faults, "r", ttl), event.ID{})
				<-time.After(time.Second)
				faults.Set(outage)
				for range 20 {
					say(t, log, "x")
					<-time.After(ttl / 4)
				}
				faults.Set(nil)
				<-time.After(ttl)
				say(t, log, "last")
				finish(t, l, log)
				if err := <-result; err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(events(1, 23, "1-24 completed"), h.all()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestFollowThroughFlakes has four of ten requests of reader and writer fail, half of them after they were served.
func TestFollowThroughFlakes(t *testing.T) {
	bubble(t, func(t *testing.T, _ *storagetest.Memory, faults *storagetest.Faulty) {
		l := acquire(t, worker(faults, "a", ttl), "s")
		log := ship(t, l)
		say(t, log, "1")
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		h, result := follow(t, worker(faults, "r", ttl), event.ID{})
		<-time.After(time.Second)
		dice := rand.New(rand.NewPCG(1, 2))
		faults.Set(func(storagetest.Op) storagetest.Outcome {
			switch n := dice.IntN(10); {
			case n < 2:
				return storagetest.Away
			case n < 4:
				return storagetest.LostLate
			}
			return storagetest.Served
		})
		for range 99 {
			<-time.After(300 * time.Millisecond)
			say(t, log, "x")
		}
		finish(t, l, log)
		if err := <-result; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(events(1, 100, "1-101 completed"), h.all()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFollowErrors(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		r := worker(faults, "r", ttl)
		none := func([]byte) error { return nil }
		wantError(t, "no session", r.Follow(t.Context(), "s", event.ID{}, none), storage.ErrNotFound)
		l := acquire(t, worker(store, "a", ttl), "s")
		log := ship(t, l)
		say(t, log, "one")
		<-time.After(2 * time.Second)
		faults.Set(storagetest.AllAway)
		wantError(t, "away to begin with", r.Follow(t.Context(), "s", event.ID{}, none), storage.ErrUnavailable)
		faults.Set(nil)

		gone := fmt.Errorf("the client is gone, as it happens with: %w", storage.ErrUnavailable)
		err := r.Follow(t.Context(), "s", event.ID{}, func([]byte) error { return gone })
		wantError(t, "emit", err, gone)
		cause := errors.New("left")
		ctx, leave := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { leave(cause) })
		wantError(t, "the reader leaves", r.Follow(ctx, "s", event.ID{}, none), cause)
	})
}

// TestFollowIntoTheNextAttempt has a reader that was away when one attempt ended and the next began.
func TestFollowIntoTheNextAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		s := worker(store, "a", ttl)
		l := acquire(t, s, "s")
		log := ship(t, l)
		say(t, log, "one")
		<-time.After(time.Second)
		h, result := follow(t, worker(faults, "r", ttl), event.ID{})
		<-time.After(time.Second)
		faults.Set(storagetest.AllAway)
		say(t, log, "two")
		finish(t, l, log)
		l = acquire(t, s, "s")
		log = ship(t, l)
		say(t, log, "one")
		<-time.After(2 * time.Second)
		faults.Set(nil)
		<-time.After(2 * time.Second)
		say(t, log, "two")
		finish(t, l, log)
		if err := <-result; err != nil {
			t.Error(err)
		}
		want := append(events(1, 2, "1-3 completed"), events(2, 2, "2-3 completed")...)
		if diff := cmp.Diff(want, h.all()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestEventsEndWithTheFirstTerminalOne, whatever a worker that did not know better has put behind it.
func TestEventsEndWithTheFirstTerminalOne(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		for key, segment := range map[string][]string{
			"00000001.0000000001": {`{"type":"message","id":"1-1"}`, `{"type":"completed","id":"1-2"}`, `{"type":"error","id":"1-lost"}`},
			"00000001.0000000003": {`{"type":"message","id":"1-3"}`},
			"00000002.0000000001": {`{"type":"message","id":"2-1"}`, `{"type":"error","id":"2-lost","code":"worker_lost"}`},
			"00000002.0000000002": {`{"type":"message","id":"2-2"}`},
		} {
			content := strings.NewReader(strings.Join(segment, "\n") + "\n")
			if err := store.Put(t.Context(), "session-s/.stream-events.jsonl."+key, content); err != nil {
				t.Fatal(err)
			}
		}
		metadata := strings.NewReader(`{"schemaVersion":1,"sessionId":"s","attempt":2}`)
		if err := store.Put(t.Context(), "session-s/.session-metadata.json", metadata); err != nil {
			t.Fatal(err)
		}
		want := []string{"1-1 message", "1-2 completed", "2-1 message", "2-lost worker_lost"}
		if diff := cmp.Diff(want, history(t, worker(store, "r", ttl), "s", event.ID{})); diff != "" {
			t.Error(diff)
		}
	})
}
