package storage_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// counting is a store that counts its calls.
type counting struct {
	storage.Store
	calls, gets atomic.Int64
}

func (c *counting) Get(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	c.calls.Add(1)
	c.gets.Add(1)
	return c.Store.Get(ctx, key)
}

func (c *counting) PutIf(ctx context.Context, key string, data []byte, cond storage.Condition) (string, error) {
	c.calls.Add(1)
	return c.Store.PutIf(ctx, key, data, cond)
}

func (c *counting) List(ctx context.Context, prefix, after string, limit int) ([]storage.Info, error) {
	c.calls.Add(1)
	return c.Store.List(ctx, prefix, after, limit)
}

func (c *counting) Delete(ctx context.Context, keys ...string) error {
	c.calls.Add(1)
	return c.Store.Delete(ctx, keys...)
}

const manyAttempts = 1000

// TestThousandAttempts of one session: the last ones cost what the second did, and a reader's memory is bounded.
// It does not run beside others, whose memory it would see.
func TestThousandAttempts(t *testing.T) {
	store := &counting{Store: storagetest.NewMemory()} // on a disk it takes a minute
	s := worker(store, "a", time.Minute)
	attempt := func() int64 {
		before := store.calls.Load()
		l := acquire(t, s, "s")
		log := ship(t, l)
		say(t, log, "words")
		finish(t, l, log)
		l.Close()
		_ = log.Close()
		return store.calls.Load() - before
	}
	attempt()
	second := attempt()
	early := len(content(t, store.Store, "session-s/.session-metadata.json"))
	for range manyAttempts - 3 {
		attempt()
	}
	// The log is put once or twice, as its shipper comes by.
	if last := attempt(); last > second+2 {
		t.Errorf("attempt %d made %d calls of the store, the second one %d", manyAttempts, last, second)
	}
	if late := len(content(t, store.Store, "session-s/.session-metadata.json")); late > early+100 {
		t.Errorf("the metadata have grown from %d bytes to %d", early, late)
	}
	readWhole(t, s)
	gets := store.gets.Load()
	tail := history(t, s, "s", event.ID{Attempt: manyAttempts, N: 1})
	if got := store.gets.Load() - gets; len(tail) != 1 || got > 4 {
		t.Errorf("the last event alone: %v, by reading %d objects", tail, got)
	}
}

// readWhole reads all attempts' events, and looks at the live heap meanwhile.
func readWhole(t *testing.T, s *storage.Sessions) {
	t.Helper()
	const most = 16 << 20
	before := liveHeap()
	n := 0
	err := s.Events(t.Context(), "s", event.ID{}, func(line []byte) error {
		want := fmt.Sprintf("%d-%d", n/2+1, n%2+1)
		if n++; event.IDOf(line).String() != want {
			return fmt.Errorf("%s stands where %s should", line, want)
		}
		if n%500 != 0 {
			return nil
		}
		if grown := liveHeap() - before; grown > most {
			return fmt.Errorf("%d bytes more are live after %d events", grown, n)
		}
		return nil
	})
	if err != nil || n != 2*manyAttempts {
		t.Errorf("%d events: %v", n, err)
	}
}

func liveHeap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
