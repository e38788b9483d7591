package storage_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// TestAnswersAreLost runs a whole job, once for each of its writes, of which the answer is lost, or that one and the next.
func TestAnswersAreLost(t *testing.T) {
	for lost := 1; lost <= 2; lost++ {
		for nth := range 14 {
			bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
				writes := 0
				faults.Set(func(op storagetest.Op) storagetest.Outcome {
					if op.Name != "PutIf" {
						return storagetest.Served
					}
					writes++
					if writes > nth && writes <= nth+lost {
						return storagetest.LostLate
					}
					return storagetest.Served
				})
				a := worker(faults, "a", ttl)
				l := acquire(t, a, "s")
				log := ship(t, l)
				for _, text := range []string{"1", "2", "3"} {
					say(t, log, text)
					<-time.After(1500 * time.Millisecond)
				}
				update := func(m *storage.Metadata) { m.Usage.InputTokens++ }
				for range 3 {
					if err := l.Update(t.Context(), update); err != nil {
						t.Fatal(err)
					}
				}
				<-time.After(ttl)
				say(t, log, "4")
				finish(t, l, log)
				if isDone(l) {
					t.Error("taken for replaced")
				}
				want := events(1, 4, "1-5 completed")
				if diff := cmp.Diff(want, history(t, worker(store, "r", ttl), "s", event.ID{})); diff != "" {
					t.Errorf("write %d: %s", nth+1, diff)
				}
				m, err := a.Metadata(t.Context(), "s")
				if err != nil || m.Usage.InputTokens != 3 || m.Status != storage.StatusCompleted || m.Lease != nil {
					t.Errorf("write %d: %+v, %v", nth+1, m, err)
				}
			})
		}
	}
}

// TestEndWhoseAnswerIsLostWhileTheNextBegins: the session is free before its holder knows.
func TestEndWhoseAnswerIsLostWhileTheNextBegins(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		l := acquire(t, worker(faults, "a", ttl), "s")
		began := make(chan *storage.Lease, 1)
		faults.Set(func(op storagetest.Op) storagetest.Outcome {
			if op.Name == "PutIf" && len(began) == 0 {
				return storagetest.LostLate
			}
			return storagetest.Served
		})
		go func() {
			<-time.After(5 * time.Millisecond)
			next, err := worker(store, "b", ttl).Acquire(t.Context(), "s", true, keep)
			if err != nil {
				t.Error(err)
			}
			began <- next
		}()
		if err := l.End(t.Context(), nothing); err != nil || isDone(l) {
			t.Errorf("End() = %v, replaced %v", err, isDone(l))
		}
		next := <-began
		if next.Attempt() != 2 {
			t.Errorf("attempt %d", next.Attempt())
		}
		next.Close()
	})
}

func TestUpdateWhoseOutcomeIsUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, _ *storagetest.Memory, faults *storagetest.Faulty) {
		a := worker(faults, "a", ttl)
		l := acquire(t, a, "s")
		lost := false
		faults.Set(func(op storagetest.Op) storagetest.Outcome {
			if op.Name == "PutIf" && !lost {
				lost = true
				return storagetest.LostLate
			}
			return storagetest.Away
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := l.Update(ctx, func(m *storage.Metadata) { m.SessionName = "stored" })
		wantError(t, "Update", err, storage.ErrUnavailable)
		faults.Set(nil)
		if err := l.Update(t.Context(), func(m *storage.Metadata) { m.Provider = "p" }); err != nil {
			t.Fatal(err)
		}
		m, err := a.Metadata(t.Context(), "s")
		if err != nil || m.SessionName != "stored" || m.Provider != "p" {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

// TestAcquireWhoseOutcomeIsUnknown leaves a lease that nobody has; the same worker need not wait for its end.
func TestAcquireWhoseOutcomeIsUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		a := worker(faults, "a", ttl)
		faults.Set(func(op storagetest.Op) storagetest.Outcome {
			if op.Name == "PutIf" {
				faults.Set(storagetest.AllAway)
				return storagetest.LostLate
			}
			return storagetest.Served
		})
		_, err := a.Acquire(t.Context(), "s", false, keep)
		wantError(t, "Acquire", err, storage.ErrUnavailable)
		faults.Set(nil)
		_, err = worker(store, "b", ttl).Acquire(t.Context(), "s", false, keep)
		wantError(t, "Acquire by another", err, storage.ErrBusy)
		if l := acquire(t, a, "s"); l.Attempt() != 2 {
			t.Errorf("attempt %d", l.Attempt())
		}
	})
}

// impatient is a store whose caller leaves while its first write is made.
type impatient struct {
	*storagetest.Memory
	leave context.CancelFunc
}

func (s impatient) PutIf(ctx context.Context, key string, data []byte, cond storage.Condition) (string, error) {
	version, err := s.Memory.PutIf(ctx, key, data, cond)
	s.leave()
	return version, errors.Join(ctx.Err(), err)
}

// TestAcquireThatIsCutShort does not hold the session in the name of nobody.
func TestAcquireThatIsCutShort(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
		ctx, cancel := context.WithCancel(t.Context())
		if l, err := worker(impatient{store, cancel}, "a", ttl).Acquire(ctx, "s", false, keep); err == nil {
			if err := l.End(t.Context(), nothing); err != nil {
				t.Error(err)
			}
		}
		acquire(t, worker(store, "b", ttl), "s")
	})
}

// TestReplacedWhileAnAnswerIsLost: the taker's attempt followed the very move that the holder is still asking about.
func TestReplacedWhileAnAnswerIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, store *storagetest.Memory, faults *storagetest.Faulty) {
		l := acquire(t, worker(faults, "a", ttl), "s")
		lost := false
		faults.Set(func(op storagetest.Op) storagetest.Outcome {
			if op.Name == "PutIf" && !lost {
				lost = true
				return storagetest.LostLate
			}
			return storagetest.Away
		})
		result := make(chan error, 1)
		go func() { result <- l.Update(t.Context(), func(m *storage.Metadata) { m.SessionName = "n" }) }()
		<-time.After(2 * ttl)
		taker := acquire(t, worker(store, "b", ttl), "s")
		faults.Set(nil)
		wantError(t, "Update", <-result, storage.ErrReplaced)
		if !isDone(l) || isDone(taker) {
			t.Errorf("replaced: holder %v, taker %v", isDone(l), isDone(taker))
		}
	})
}

// TestSegmentOfAnother: a worker that finds the word of another in its own segment is replaced, and does not overwrite it.
func TestSegmentOfAnother(t *testing.T) {
	for name, other := range map[string]string{
		"closed":  `{"type":"error","id":"1-lost","code":"worker_lost"}` + "\n",
		"foreign": "something else\nand more\n",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, store *storagetest.Memory, _ *storagetest.Faulty) {
				l := acquire(t, worker(store, "a", ttl), "s")
				log := ship(t, l)
				say(t, log, "one")
				if err := l.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				const key = "session-s/.stream-events.jsonl.00000001.0000000001"
				tampered := content(t, store, key) + other
				info, err := store.Stat(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := store.PutIf(t.Context(), key, []byte(tampered), storage.IfVersion(info.Version)); err != nil {
					t.Fatal(err)
				}
				say(t, log, "two")
				wantError(t, "Flush", l.Flush(t.Context()), storage.ErrReplaced)
				synctest.Wait() // it may be the shipper that found out, and is about to tell
				if got := content(t, store, key); got != tampered || !isDone(l) {
					t.Errorf("replaced %v, segment now %q", isDone(l), got)
				}
			})
		})
	}
}
