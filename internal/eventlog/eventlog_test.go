package eventlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
)

func newLog(t testing.TB) *eventlog.Log {
	t.Helper()
	return create(t, eventlog.Config{Path: filepath.Join(t.TempDir(), "log"), Attempt: 3, Now: clock})
}

func create(t testing.TB, cfg eventlog.Config) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

func clock() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC) }

func note(i int) event.Body { return event.Notice{Message: fmt.Sprint(i)} }

func mustAppend(t testing.TB, log *eventlog.Log, b event.Body) {
	t.Helper()
	if _, err := log.Append(b); err != nil {
		t.Fatal(err)
	}
}

// rest reads a tailer to its end, which must come.
func rest(t testing.TB, tail *eventlog.Tail) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var lines []string
	for {
		line, id, err := tail.Next(ctx)
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := event.IDOf(line); got != id {
			t.Fatalf("line %s has ID %s, Next says %s", line, got, id)
		}
		lines = append(lines, string(line))
	}
}

func TestLineIsWhatTheWireHas(t *testing.T) {
	log := newLog(t)
	id, err := log.Append(event.AssistantMessage{Data: json.RawMessage("{\"a\":\n \"<b>\"}")})
	if err != nil {
		t.Fatal(err)
	}
	if want := (event.ID{Attempt: 3, N: 1}); id != want {
		t.Errorf("Append() = %v, want %v", id, want)
	}
	log.Abandon()
	want := []string{`{"type":"assistant_message","id":"3-1","timestamp":"2026-01-02T03:04:05.006Z","data":{"a":"<b>"}}`}
	if diff := cmp.Diff(want, rest(t, log.Tail(0))); diff != "" {
		t.Error(diff)
	}
}

func TestTerminalEventIsHiddenUntilReveal(t *testing.T) {
	log := newLog(t)
	mustAppend(t, log, note(1))
	if err := log.Finish(event.Completed{SessionID: "s"}); err != nil {
		t.Fatal(err)
	}
	tail := log.Tail(1)
	defer tail.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.DeadlineExceeded)
	if line, _, err := tail.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("before Reveal: %s, %v", line, err)
	}
	if n, size := log.Written(); n != 2 || size == 0 {
		t.Errorf("Written() = %d, %d: the hidden event counts", n, size)
	}
	if _, err := log.Append(note(2)); !errors.Is(err, eventlog.ErrEnded) {
		t.Errorf("Append after Finish: %v", err)
	}
	log.Reveal()
	log.Reveal()
	log.Abandon()
	lines := rest(t, tail)
	if len(lines) != 1 || event.TypeOf([]byte(lines[0])) != event.TypeCompleted {
		t.Errorf("after Reveal: %q", lines)
	}
}

func TestFinishAgainReplacesTheHiddenOutcome(t *testing.T) {
	log := newLog(t)
	mustAppend(t, log, note(1))
	for _, b := range []event.Body{
		event.Completed{SessionID: "a session with a long name, so that a shorter line leaves a rest behind it"},
		event.Failed{Error: "x", Code: event.StorageError},
	} {
		if err := log.Finish(b); err != nil {
			t.Fatal(err)
		}
	}
	log.Reveal()
	if err := log.Finish(event.Completed{}); !errors.Is(err, eventlog.ErrEnded) {
		t.Errorf("Finish after Reveal: %v", err)
	}
	lines := rest(t, log.Tail(0))
	if len(lines) != 2 || event.TypeOf([]byte(lines[1])) != event.TypeError || event.IDOf([]byte(lines[1])).N != 2 {
		t.Errorf("%q", lines)
	}
	if got := stored(t, log); got != lines[0]+"\n"+lines[1]+"\n" {
		t.Errorf("ReadAt sees %q", got)
	}
}

// stored reads the log as the shipper does.
func stored(t testing.TB, log *eventlog.Log) string {
	t.Helper()
	_, size := log.Written()
	data, err := io.ReadAll(io.NewSectionReader(log, 0, size))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAbandonEndsWithoutTheTerminalEvent(t *testing.T) {
	log := newLog(t)
	mustAppend(t, log, note(1))
	if err := log.Finish(event.Completed{}); err != nil {
		t.Fatal(err)
	}
	log.Abandon()
	log.Reveal()
	if lines := rest(t, log.Tail(0)); len(lines) != 1 {
		t.Errorf("%q", lines)
	}
}

func TestRevealWithoutFinishIsNothing(t *testing.T) {
	log := newLog(t)
	log.Reveal()
	mustAppend(t, log, note(1))
}

func TestCloseLetsOpenTailersFinish(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log := create(t, eventlog.Config{Path: path, Attempt: 1, Now: clock})
	mustAppend(t, log, note(1))
	if err := log.Finish(event.Completed{}); err != nil {
		t.Fatal(err)
	}
	log.Reveal()
	tail := log.Tail(0)
	for range 2 {
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if got := len(rest(t, tail)); got != 2 {
		t.Errorf("an open tailer got %d events, want 2", got)
	}
	for range 2 {
		tail.Close()
	}
	late := log.Tail(0)
	if _, _, err := late.Next(t.Context()); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a new tailer: %v, want fs.ErrClosed", err)
	}
	late.Close()
	if _, err := log.Append(note(2)); !errors.Is(err, eventlog.ErrEnded) {
		t.Errorf("Append after Close: %v", err)
	}
}

func TestCreateReplacesWhatWasLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	log := create(t, eventlog.Config{Path: path, Attempt: 1, Now: clock})
	mustAppend(t, log, note(1))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if data, _ := os.ReadFile(path); !bytes.HasPrefix(data, []byte(`{"type":"message","id":"1-1"`)) {
		t.Errorf("file: %s", data)
	}
	if _, err := eventlog.Create(eventlog.Config{Path: filepath.Join(path, "x"), Now: clock}); err == nil {
		t.Error("no error where no file can be")
	}
}

func TestAppendThatFailsTakesNoNumber(t *testing.T) {
	log := newLog(t)
	if _, err := log.Append(event.AssistantMessage{Data: json.RawMessage("{")}); err == nil {
		t.Error("broken JSON was taken")
	}
	id, err := log.Append(note(1))
	if err != nil || id.N != 1 {
		t.Errorf("Append() = %v, %v", id, err)
	}
}

func TestScrubSparesTheHeader(t *testing.T) {
	log := create(t, eventlog.Config{
		Path: filepath.Join(t.TempDir(), "log"), Attempt: 1, Now: clock,
		Scrub: func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("completed"), []byte("[redacted]")) },
	})
	if err := log.Finish(event.Completed{SessionID: "completed"}); err != nil {
		t.Fatal(err)
	}
	log.Reveal()
	want := []string{`{"type":"completed","id":"1-1","timestamp":"2026-01-02T03:04:05.006Z","sessionId":"[redacted]","duration_ms":0}`}
	if diff := cmp.Diff(want, rest(t, log.Tail(0))); diff != "" {
		t.Error(diff)
	}
}

func TestChangedTellsOfEveryChange(t *testing.T) {
	log := newLog(t)
	awaitChange(t, log, "Append", func() { mustAppend(t, log, note(1)) })
	awaitChange(t, log, "Finish", func() { _ = log.Finish(event.Completed{}) })
	awaitChange(t, log, "Reveal", log.Reveal)
}

func awaitChange(t *testing.T, log *eventlog.Log, name string, change func()) {
	t.Helper()
	changed := log.Changed()
	select {
	case <-changed:
		t.Errorf("%s: changed before", name)
	default:
	}
	change()
	select {
	case <-changed:
	default:
		t.Errorf("%s was not told", name)
	}
}

func TestReadAtStopsAtWholeLines(t *testing.T) {
	log := newLog(t)
	if n, err := log.ReadAt(make([]byte, 1), 0); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("empty log: %d, %v", n, err)
	}
	mustAppend(t, log, note(1))
	_, size := log.Written()
	buf := make([]byte, size+10)
	n, err := log.ReadAt(buf, 1)
	if int64(n) != size-1 || !errors.Is(err, io.EOF) || buf[n-1] != '\n' {
		t.Errorf("ReadAt() = %d, %v of %d", n, err, size)
	}
}
