package client_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

var job2 = []string{line("2-1", "connected", ""), line("2-2", "error", `,"error":"x","code":"aborted"`)}

func TestAttach(t *testing.T) {
	first := []string{connected, hello, world, completed}
	for _, test := range []struct {
		name   string
		from   client.From
		steps  []http.HandlerFunc
		calls  []string
		events []string
	}{
		{"latest", client.From{}, []http.HandlerFunc{streams(job2...)}, []string{stream + "?job=latest"}, []string{"2-1", "2-2"}},
		{"after", client.From{After: "1-2"}, []http.HandlerFunc{streams(world, completed, job2[0])}, []string{stream}, []string{"1-3", "1-4"}},
		{"all", client.From{All: true}, []http.HandlerFunc{streams(append(first, job2...)...)}, []string{stream}, []string{"1-1", "1-2", "1-3", "1-4", "2-1", "2-2"}},
		{
			"all, cut after an earlier job",
			client.From{All: true},
			[]http.HandlerFunc{cuts(frame(hello) + frame(completed)), streams(job2...)},
			[]string{stream, stream},
			[]string{"1-2", "1-4", "2-1", "2-2"},
		},
		{
			"all, cut after the last event",
			client.From{All: true},
			[]http.HandlerFunc{cuts(frame(completed)), streams()},
			[]string{stream, stream},
			[]string{"1-4"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := startWorker(t, test.steps...)
			l := &log{}
			end, err := newClient(t, w.URL, l).Attach(t.Context(), sessionID, test.from, l.onEvent)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.events, l.events); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.calls, w.calls()); diff != "" {
				t.Error(diff)
			}
			if end.ID != test.events[len(test.events)-1] {
				t.Errorf("end is %s", end.ID)
			}
			if w.seen()[0].LastEventID != test.from.After {
				t.Errorf("asked for what comes after %q", w.seen()[0].LastEventID)
			}
		})
	}
}

func TestAttachToAnUnknownSession(t *testing.T) {
	w := startWorker(t, answers(404, `{"error":"session_not_found","message":"no such session"}`))
	l := &log{}
	_, err := newClient(t, w.URL, l).Attach(t.Context(), sessionID, client.From{}, l.onEvent)
	if answer := mustBe[*client.APIError](t, err); answer.Code != event.SessionNotFound || len(l.again) != 0 {
		t.Errorf("error is %v after %d retries", err, len(l.again))
	}
}

// There is nothing to wait for behind the last event of a job that is over, nor in one that never began.
func TestAttachWhereNothingComes(t *testing.T) {
	running, over := answers(200, `{"sessionId":"s1","status":"running"}`), answers(200, `{"sessionId":"s1","status":"failed"}`)
	for after, usage := range map[string]bool{"": false, "1-4": true} {
		w := startWorker(t, streams(), running, streams(), over, streams())
		_, err := newClient(t, w.URL, &log{}).Attach(t.Context(), sessionID, client.From{After: after}, (&log{}).onEvent)
		if err == nil || errors.Is(err, client.ErrUsage) != usage || !strings.Contains(err.Error(), sessionID) {
			t.Errorf("after %q: %v", after, err)
		}
		if n := len(w.calls()); n != 5 {
			t.Errorf("after %q: %d requests", after, n)
		}
	}
	w := startWorker(t, streams(), over, streams(connected, completed)) // it ended in between
	if end, err := newClient(t, w.URL, &log{}).Attach(t.Context(), sessionID, client.From{}, (&log{}).onEvent); err != nil || end.ID != "1-4" {
		t.Errorf("%s, %v", end.ID, err)
	}
}

func TestAttachWithoutAWorker(t *testing.T) {
	w := startWorker(t)
	w.Close()
	l := &log{}
	_, err := newClient(t, w.URL, l).Attach(t.Context(), sessionID, client.From{}, l.onEvent)
	if !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	if len(l.again) == 0 || l.again[0].Reconnect {
		t.Errorf("told %v", l.again)
	}
}

const metadata = `{"schemaVersion":1,"sessionId":"s1","sessionName":"Add it","provider":"script","status":"completed","attempt":2,` +
	`"createdAt":"2026-03-14T09:26:53.589Z","updatedAt":"2026-03-14T09:27:20.954Z","github":{"repoUrl":"https://h/r","branch":"b","head":"h1","pushed":"h1"},` +
	`"usage":{"inputTokens":1,"outputTokens":2,"costUsd":0.5},"eventCount":14,"new":true}`

func TestSession(t *testing.T) {
	w := startWorker(t, answers(200, metadata))
	got, err := newClient(t, w.URL, &log{}).Session(t.Context(), "s1")
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Raw) != metadata {
		t.Errorf("raw is %s", got.Raw)
	}
	got.Raw = nil
	want := client.Session{
		SessionID: "s1", SessionName: "Add it", Provider: "script", Status: "completed", Attempt: 2, EventCount: 14,
		CreatedAt: time.Date(2026, 3, 14, 9, 26, 53, 589e6, time.UTC), UpdatedAt: time.Date(2026, 3, 14, 9, 27, 20, 954e6, time.UTC),
		GitHub: &client.SessionRepo{RepoURL: "https://h/r", Branch: "b", Head: "h1", Pushed: "h1"},
		Usage:  &event.Usage{InputTokens: 1, OutputTokens: 2, CostUSD: 0.5},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSessionsPageByPage(t *testing.T) {
	w := startWorker(t,
		answers(200, `{"count":1,"sessions":[{"sessionId":"a"}],"nextCursor":"a&b"}`),
		answers(200, `{"count":1,"sessions":[{"sessionId":"b"}]}`),
	)
	c := newClient(t, w.URL, &log{})
	page, next, err := c.Sessions(t.Context(), "", 0)
	if err != nil || len(page) != 1 || page[0].SessionID != "a" || next != "a&b" {
		t.Fatalf("first page is %v, %q, %v", page, next, err)
	}
	page, next, err = c.Sessions(t.Context(), next, 7)
	if err != nil || len(page) != 1 || page[0].SessionID != "b" || next != "" {
		t.Fatalf("second page is %v, %q, %v", page, next, err)
	}
	if diff := cmp.Diff([]string{"GET /sessions", "GET /sessions?cursor=a%26b&limit=7"}, w.calls()); diff != "" {
		t.Error(diff)
	}
}

func TestAbort(t *testing.T) {
	w := startWorker(t,
		answers(200, `{"status":"aborting","sessionId":"s1"}`), answers(202, `{"status":"requested"}`),
		answers(200, `{"status":"not_running"}`), answers(404, `{"error":"session_not_found"}`),
	)
	c := newClient(t, w.URL, &log{})
	if got, err := c.Abort(t.Context(), ""); err != nil || got != client.Aborting {
		t.Errorf("%q, %v", got, err)
	}
	for _, want := range []client.Outcome{client.AbortRequested, client.NotRunning} {
		if got, err := c.Abort(t.Context(), "s1"); err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	_, err := c.Abort(t.Context(), "s1")
	mustBe[*client.APIError](t, err)
	if got := w.seen(); got[0].Body != "{}" || got[1].Body != `{"sessionId":"s1"}` {
		t.Errorf("bodies are %q and %q", got[0].Body, got[1].Body)
	}
}

func TestStatus(t *testing.T) {
	w := startWorker(t,
		answers(200, `{"status":"idle"}`), answers(429, `{"status":"busy","sessionId":"s1","retryAfter":5}`),
		answers(503, `{"status":"draining"}`), answers(503, `{"error":"away"}`), answers(500, `{"error":"internal_error"}`),
	)
	c := newClient(t, w.URL, &log{})
	for _, want := range []string{"idle", "busy", "draining"} {
		if got, err := c.Status(t.Context()); err != nil || got.Status != want {
			t.Errorf("%+v, %v, want %s", got, err, want)
		}
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("a proxy's 503: %v", err)
	}
	if _, err := c.Status(t.Context()); err == nil {
		t.Error("a 500 is no error")
	}
}

func TestNewRefusesABadServer(t *testing.T) {
	for _, url := range []string{"", "localhost:5000", "ftp://x", "http://", "http://user:pass@host", "::"} {
		if _, err := client.New(client.Config{BaseURL: url}); !errors.Is(err, client.ErrUsage) {
			t.Errorf("%q: %v", url, err)
		}
	}
}
