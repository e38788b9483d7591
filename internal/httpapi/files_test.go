package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// archiver lists the same entries of every snapshot, and then fails if it has an error.
type archiver struct {
	entries []snapshot.Entry
	err     error
}

func (a archiver) List(_ context.Context, _ snapshot.Ref, _ snapshot.Getter, emit func(snapshot.Entry) error) error {
	for _, e := range a.entries {
		if err := emit(e); err != nil {
			return err
		}
	}
	return a.err
}

func withFiles(t *testing.T, a archiver, ref *snapshot.Ref) *worker {
	t.Helper()
	stored := newSessions()
	stored.add("s", event.Event{ID: event.ID{Attempt: 1, N: 1}, Body: event.Notice{Message: "x"}})
	stored.saved = ref
	cfg := config(t, newRunner(t), stored)
	cfg.Snapshots = a
	return serve(t, cfg)
}

func TestFiles(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 26, 53, 589793238, time.UTC)
	w := withFiles(t, archiver{entries: []snapshot.Entry{
		{Path: "checkout", Mode: fs.ModeDir | 0o755, Modified: at},
		{Path: "checkout/a \"b\"\n\xff", Mode: 0o4, Size: 12, Modified: at},
		{Path: "checkout/link", Mode: fs.ModeSymlink | 0o777, Modified: at, Target: "../x"},
		{Path: "checkout/again", Mode: 0o644, Modified: at, Target: "checkout/first"},
	}}, &snapshot.Ref{})
	a := w.do("GET", "/sessions/s/files", "")
	const when = "2026-03-14T09:26:53.589793238Z"
	want := map[string]any{"sessionId": "s", "fileCount": 4.0, "files": []any{
		map[string]any{"path": "checkout", "type": "directory", "mode": "0755", "size": 0.0, "modifiedAt": when},
		map[string]any{"path": "checkout/a \"b\"\n\ufffd", "type": "file", "mode": "0004", "size": 12.0, "modifiedAt": when},
		map[string]any{"path": "checkout/link", "type": "symlink", "mode": "0777", "size": 0.0, "modifiedAt": when, "target": "../x"},
		map[string]any{"path": "checkout/again", "type": "link", "mode": "0644", "size": 0.0, "modifiedAt": when, "target": "checkout/first"},
	}}
	if diff := cmp.Diff(want, a.body); diff != "" || a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, diff)
	}
}

func TestFilesOfASessionWithoutASnapshot(t *testing.T) {
	a := withFiles(t, archiver{err: fmt.Errorf("nothing is there to be listed")}, nil).do("GET", "/sessions/s/files", "")
	if files, ok := a.body["files"].([]any); a.status != http.StatusOK || !ok || len(files) != 0 || a.body["fileCount"] != 0.0 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	for _, tt := range []struct {
		path   string
		files  archiver
		status int
		code   string
	}{
		{"/sessions/none/files", archiver{}, 404, "session_not_found"},
		{"/sessions/a..b/files", archiver{}, 400, "invalid_request"},
		{"/sessions/s/files", archiver{err: fmt.Errorf("x: %w", snapshot.ErrCorrupt)}, 500, "session_corrupt"},
		{"/sessions/s/files", archiver{err: fmt.Errorf("x: %w", storage.ErrUnavailable)}, 503, "storage_error"},
	} {
		if a := withFiles(t, tt.files, &snapshot.Ref{}).do("GET", tt.path, ""); a.status != tt.status || a.body["error"] != tt.code {
			t.Errorf("%s: %d %s", tt.path, a.status, a.raw)
		}
	}
	many := slices.Repeat([]snapshot.Entry{{Path: "checkout", Mode: fs.ModeDir}}, 1000) // the head is out by then
	w := withFiles(t, archiver{entries: many, err: snapshot.ErrCorrupt}, &snapshot.Ref{})
	resp := w.open(context.Background(), "GET", "/sessions/s/files", "")
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil || strings.Contains(string(body), "fileCount") {
		t.Errorf("a list that was cut looks whole: %q, %v", body, err)
	}
}
