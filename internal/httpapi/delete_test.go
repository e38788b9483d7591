package httpapi_test

import (
	"fmt"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

func TestDeleteSession(t *testing.T) {
	stored := newSessions()
	stored.add("s", event.Event{ID: event.ID{Attempt: 1, N: 1}, Body: event.Notice{Message: "x"}})
	w := serve(t, config(t, newRunner(t), stored))
	for range 2 {
		if a := w.do("DELETE", "/sessions/s", ""); a.status != 200 || a.body["deleted"] != true || a.body["sessionId"] != "s" {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
	if a := w.do("GET", "/sessions/s", ""); a.status != 404 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := w.do("DELETE", "/sessions/..%2fx", ""); a.status != 400 || a.body["field"] != "sessionId" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	stored.err = fmt.Errorf("delete: %w", storage.ErrBusy)
	if a := w.do("DELETE", "/sessions/s", ""); a.status != 409 || a.body["error"] != "session_busy" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}
