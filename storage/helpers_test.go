package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// worker is one process's view of a store, with a short lease.
func worker(store storage.Store, holder string, ttl time.Duration) *storage.Sessions {
	return storage.NewSessions(storage.Config{Store: store, Holder: holder, LeaseTTL: ttl, Log: zerolog.Nop()})
}

func keep(*storage.Metadata) error { return nil }

func nothing(*storage.Metadata) {}

func acquire(t testing.TB, s *storage.Sessions, id string) *storage.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), id, false, keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// ship gives an attempt a log that is stored from now on.
func ship(t testing.TB, l *storage.Lease) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Create(eventlog.Config{
		Path: filepath.Join(t.TempDir(), "log"), Attempt: l.Attempt(), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	l.Ship(log)
	return log
}

func say(t testing.TB, log *eventlog.Log, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := log.Append(event.Notice{Message: text}); err != nil {
			t.Error(err)
		}
	}
}

// finish ends an attempt as the orchestrator does: the terminal event, stored, the metadata, and only then seen.
func finish(t testing.TB, l *storage.Lease, log *eventlog.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := errors.Join(
		log.Finish(event.Completed{SessionID: l.Metadata().SessionID}),
		l.Flush(ctx),
		l.End(ctx, func(m *storage.Metadata) { m.Status = storage.StatusCompleted }),
	)
	log.Reveal()
	if err != nil {
		t.Fatal(err)
	}
}

// history is what Events tells, in short.
func history(t testing.TB, s *storage.Sessions, id string, after event.ID) []string {
	t.Helper()
	var heard heard
	if err := s.Events(t.Context(), id, after, heard.emit); err != nil {
		t.Fatal(err)
	}
	return heard.lines
}

// heard collects events as "<id> <type> <message or code>".
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) emit(line []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, short(line))
	return nil
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.lines...)
}

func short(line []byte) string {
	text := event.TypeOf(line)
	if text == event.TypeError {
		_, code, _ := strings.Cut(string(line), `"code":"`)
		text, _, _ = strings.Cut(code, `"`)
	}
	return event.IDOf(line).String() + " " + text
}

// events are what history should be: n messages of an attempt, and then the ends, if any.
func events(attempt, n int, ends ...string) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%d-%d message", attempt, i+1))
	}
	return append(all, ends...)
}

// eventually polls until ok, for tests on real stores.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func wantError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func keys(t testing.TB, store storage.Store, prefix string) []string {
	t.Helper()
	list, err := store.List(t.Context(), prefix, "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, info := range list {
		all = append(all, info.Key)
	}
	return all
}

func content(t testing.TB, store storage.Store, key string) string {
	t.Helper()
	r, _, err := store.Get(t.Context(), key)
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
