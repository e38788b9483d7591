package storage_test

import (
	"bytes"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// FuzzID: whatever a client sends for an ID, nothing is read or written outside of the folder of a session of exactly this ID.
func FuzzID(f *testing.F) {
	for _, id := range append(storagetest.HostileKeys(),
		"s", "a.b-c_d", "A", "..", "a..b", ".hidden", "-", "a/b", "a\n", "a b", "é", "%2e%2e", strings.Repeat("a", 128), strings.Repeat("a", 129)) {
		f.Add(id)
	}
	pattern := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	f.Fuzz(func(t *testing.T, id string) {
		valid := pattern.MatchString(id) && !strings.Contains(id, "..") && !strings.Contains(id, "\n")
		store := storagetest.NewMemory()
		watched := storagetest.NewFaulty(store)
		watched.Set(func(op storagetest.Op) storagetest.Outcome {
			inside := strings.HasPrefix(op.Key, "session-"+id+"/") && path.Clean("/"+op.Key) == "/"+strings.TrimSuffix(op.Key, "/")
			if !valid || op.Name != "Folders" && !inside {
				t.Errorf("ID %q: %s %q", id, op.Name, op.Key)
			}
			return storagetest.Served
		})
		s := worker(watched, "a", time.Minute)
		_, metadataErr := s.Metadata(t.Context(), id)
		_, abortErr := s.RequestAbort(t.Context(), id)
		none := func([]byte) error { return nil }
		for name, err := range map[string]error{
			"Metadata": metadataErr, "RequestAbort": abortErr,
			"Events": s.Events(t.Context(), id, event.ID{}, none), "Follow": s.Follow(t.Context(), id, event.ID{}, none),
		} {
			wantError(t, name, err, storage.ErrNotFound)
		}
		l, err := s.Acquire(t.Context(), id, false, keep)
		if (err == nil) != valid || storage.ValidID(id) != valid {
			t.Fatalf("Acquire(%q): %v", id, err)
		}
		if err != nil {
			return
		}
		defer l.Close()
		if err := l.Objects().Put(t.Context(), "x", strings.NewReader("x")); err != nil {
			t.Error(err)
		}
		if err := l.End(t.Context(), nothing); err != nil {
			t.Error(err)
		}
	})
}

// FuzzStored: what stands in the store may be damaged or hostile; it must not stop or mislead a worker.
func FuzzStored(f *testing.F) {
	good := `{"schemaVersion":1,"sessionId":"s","attempt":1,"nonce":"n"}`
	line := `{"type":"message","id":"1-1","timestamp":"2026-01-02T03:04:05.006Z","message":"m"}` + "\n"
	f.Add([]byte(good), []byte(line), ".stream-events.jsonl.00000001.0000000001")
	f.Add([]byte(good), []byte(line+line+"\n\n{"), ".stream-events.jsonl.00000001.0000000001")
	f.Add([]byte(`{"schemaVersion":1,"sessionId":"s","attempt":3,"lease":{},"snapshot":{"objects":["../x"]}}`), []byte("\n"), ".stream-events.jsonl.1.-5")
	f.Add([]byte(`null`), []byte{}, ".stream-events.jsonl.")
	f.Add([]byte(`{"schemaVersion":1,"sessionId":"s","attempt":2}`), []byte(`{"type":"error","id":"9-lost"}`), ".stream-events.jsonl.00000001.0000000009")
	f.Fuzz(func(t *testing.T, metadata, segment []byte, name string) {
		store := storagetest.NewMemory()
		_ = store.Put(t.Context(), "session-s/.session-metadata.json", bytes.NewReader(metadata))
		_ = store.Put(t.Context(), "session-s/"+name, bytes.NewReader(segment))
		s := worker(store, "a", time.Minute)
		var last event.ID
		err := s.Events(t.Context(), "s", event.ID{}, func(line []byte) error {
			id := event.IDOf(line)
			if !last.Before(id) || bytes.ContainsRune(line, '\n') {
				t.Errorf("event %s after %s: %q", id, last, line)
			}
			last = id
			return nil
		})
		m, metaErr := s.Metadata(t.Context(), "s")
		if (err == nil) != (metaErr == nil) {
			t.Errorf("Events: %v, Metadata: %v", err, metaErr)
		}
		if metaErr != nil || m.Attempt > 100 /* they take long to close */ || m.Lease != nil {
			return
		}
		l, err := s.Acquire(t.Context(), "s", true, keep)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, object := range append([]string{name}, keys(t, store, "")...) {
			_, _ = l.Objects().Get(t.Context(), object)
		}
	})
}
