package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

// every event once, and the request never a second time, wherever the stream is cut
func TestExecuteReconnects(t *testing.T) {
	whole := frame(connected) + frame(hello)
	for _, test := range []struct {
		name  string
		cut   http.HandlerFunc
		after string // what the reconnect must ask for
		rest  []string
	}{
		{"between frames", cuts(whole), "1-2", []string{world, completed}},
		{"ended cleanly", streams(connected, hello), "1-2", []string{world, completed}},
		{"within data", cuts(whole + "id: 1-3\ndata: {\"type\":\"assistant_message\",\"id\":\"1-3\",\"da"), "1-2", []string{world, completed}},
		{"within an ID", cuts(whole + "id: 1-"), "1-2", []string{world, completed}},
		{"before the blank line", cuts(whole + strings.TrimSpace(frame(world))), "1-3", []string{completed}},
		{"before the first event", cuts(""), "", []string{connected, hello, world, completed}},
		{"garbage", streams(connected, hello, `"id":"9-9" not json`), "1-2", []string{world, completed}},
		{"repeated", cuts(whole), "1-2", []string{connected, hello, world, completed}},
		{"lost worker", cuts(whole), "1-2", []string{line("1-lost", "error", `,"code":"worker_lost"`)}},
		{"a later job follows", cuts(whole), "1-2", []string{world, completed, line("2-1", "connected", "")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := startWorker(t, test.cut, streams(test.rest...))
			l := &log{}
			end, err := newClient(t, w.URL, l).Execute(t.Context(), client.Request{Text: "x"}, l.onEvent)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"1-1", "1-2", "1-3", "1-4"}
			if strings.HasPrefix(test.name, "lost") {
				want = []string{"1-1", "1-2", "1-lost"}
			}
			if diff := cmp.Diff(want, l.events); diff != "" {
				t.Error(diff)
			}
			if end.ID != want[len(want)-1] {
				t.Errorf("terminal event is %s", end.ID)
			}
			again := stream
			if test.after == "" {
				again += "?job=latest"
			}
			if diff := cmp.Diff([]string{post, again}, w.calls()); diff != "" {
				t.Error(diff)
			}
			if got := w.seen()[1]; got.LastEventID != test.after || got.Accept != "text/event-stream" || got.Body != "" {
				t.Errorf("reconnect is %+v", got)
			}
		})
	}
}

func TestReconnectOutlivesBadMoments(t *testing.T) {
	w := startWorker(t,
		cuts(frame(connected)), answers(502, "bad gateway"), answers(503, `{"error":"storage_error"}`, "Retry-After", "3"),
		cuts(frame(hello)), streams(), streams(world, completed),
	)
	l := &log{}
	if _, err := newClient(t, w.URL, l).Execute(t.Context(), client.Request{Text: "x"}, l.onEvent); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1-1", "1-2", "1-3", "1-4"}, l.events); diff != "" {
		t.Error(diff)
	}
	// The waits double, are as long as asked for, and start again after progress.
	want := []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second, 250 * time.Millisecond, 500 * time.Millisecond}
	if diff := cmp.Diff(want, l.waits); diff != "" {
		t.Error(diff)
	}
}

func TestReconnectGivesUp(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{
		"cut each time":   cuts(frame(connected)),
		"empty each time": streams(),
		"server error":    answers(500, `{"error":"internal_error","message":"x"}`),
		"refused at once": answers(401, `{"error":"unauthorized","message":"x"}`),
		"gone":            answers(404, `{"error":"session_not_found","message":"x"}`),
	} {
		t.Run(name, func(t *testing.T) {
			steps := []http.HandlerFunc{cuts(frame(connected))}
			for range 50 {
				steps = append(steps, step)
			}
			w := startWorker(t, steps...)
			l := &log{}
			_, err := newClient(t, w.URL, l).Execute(t.Context(), client.Request{Text: "x"}, l.onEvent)
			lost := mustBe[*client.LostError](t, err)
			if lost.SessionID != sessionID || lost.LastEventID != "1-1" || lost.Err == nil {
				t.Errorf("error is %+v", lost)
			}
			if n := len(w.calls()); n < 2 || n > 30 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// The worker may have got a request whose answer is lost.
func TestExecuteNeverPostsTwice(t *testing.T) {
	missing := answers(404, `{"error":"session_not_found","message":"x"}`)
	for name, step := range map[string]http.HandlerFunc{"no answer": drops, "proxy's 502": answers(502, "<html>"), "proxy's 504": answers(504, "")} {
		t.Run(name, func(t *testing.T) {
			w := startWorker(t, step, missing, streams(connected, completed))
			l := &log{}
			if _, err := newClient(t, w.URL, l).Execute(t.Context(), client.Request{Text: "x"}, l.onEvent); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{post, stream + "?job=latest", stream + "?job=latest"}, w.calls()); diff != "" {
				t.Error(diff)
			}
		})
		t.Run(name+", named session", func(t *testing.T) {
			w := startWorker(t, step)
			l := &log{}
			_, err := newClient(t, w.URL, l).Execute(t.Context(), client.Request{Text: "x", SessionID: sessionID}, l.onEvent)
			if lost := mustBe[*client.LostError](t, err); lost.LastEventID != "" {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestGiantEvent(t *testing.T) {
	giant := line("1-2", "assistant_message", `,"data":"`+strings.Repeat(`a\"`, 20<<20/3)+`"`)
	w := startWorker(t, streams(connected, giant, completed))
	var got int
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := newClient(t, w.URL, &log{}).Execute(ctx, client.Request{Text: "x"}, func(e client.Event) error {
		got = max(got, len(e.Raw))
		return nil
	})
	if err != nil || got != len(giant) {
		t.Errorf("got %d bytes of %d, error %v", got, len(giant), err)
	}
}

func TestUnknownTypesAreKept(t *testing.T) {
	odd := line("1-2", "hologram", `,"depth":3`)
	misfit := line("1-3", "message", `,"message":{"not":"a string"}`)
	w := startWorker(t, streams(connected, odd, misfit, completed))
	var raw []string
	_, err := newClient(t, w.URL, &log{}).Execute(t.Context(), client.Request{Text: "x"}, func(e client.Event) error {
		if e.Body() == nil {
			raw = append(raw, string(e.Raw))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{odd, misfit}, raw); diff != "" {
		t.Error(diff)
	}
}

func TestCallerEndsTheReading(t *testing.T) {
	started := make(chan struct{})
	w := startWorker(t, hangs(started, connected, hello, world))
	enough := errors.New("enough")
	n := 0
	_, err := newClient(t, w.URL, &log{}).Execute(t.Context(), client.Request{Text: "x"}, func(client.Event) error {
		if n++; n == 2 {
			return fmt.Errorf("seen two: %w", enough)
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 2 {
		t.Errorf("error is %v after %d events", err, n)
	}
}

func TestContextEndsEveryWait(t *testing.T) {
	stop := errors.New("stop")
	busy := answers(429, `{"error":"busy"}`)
	for _, test := range []struct {
		name  string
		steps func(hanging chan struct{}) []http.HandlerFunc
	}{
		{"in the stream", func(h chan struct{}) []http.HandlerFunc { return []http.HandlerFunc{hangs(h, connected)} }},
		{"before the answer", func(h chan struct{}) []http.HandlerFunc {
			return []http.HandlerFunc{func(_ http.ResponseWriter, req *http.Request) { close(h); <-req.Context().Done() }}
		}},
		{"in the second stream", func(h chan struct{}) []http.HandlerFunc {
			return []http.HandlerFunc{cuts(frame(connected)), hangs(h, hello)}
		}},
		{"waiting for a worker", func(h chan struct{}) []http.HandlerFunc {
			return []http.HandlerFunc{func(rw http.ResponseWriter, req *http.Request) { busy(rw, req); close(h) }}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			hanging := make(chan struct{})
			w := startWorker(t, test.steps(hanging)...)
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() { <-hanging; cancel(stop) }()
			c := newClient(t, w.URL, &log{}, func(cfg *client.Config) {
				cfg.Wait = func(ctx context.Context, d time.Duration) error {
					if d < time.Second { // a reconnect
						return nil
					}
					<-ctx.Done()
					return context.Cause(ctx)
				}
			})
			done := make(chan error, 1)
			go func() {
				_, err := c.Execute(ctx, client.Request{Text: "x"}, func(client.Event) error { return nil })
				done <- err
			}()
			select {
			case err := <-done:
				if !errors.Is(err, stop) {
					t.Errorf("error is %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("Execute did not return")
			}
		})
	}
}
