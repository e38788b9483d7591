package client_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

// inFakeTime makes a client with the real waits and no network.
func inFakeTime(t *testing.T, l *log, steps ...func(*http.Request, *io.PipeWriter)) (*client.Client, *memory) {
	t.Helper()
	m := &memory{steps: steps}
	c, err := client.New(client.Config{
		BaseURL: "http://worker", Transport: m, NewID: func() string { return sessionID },
		OnRetry: func(r client.Retry) { l.again = append(l.again, r) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, m
}

func TestSilenceIsACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		c, _ := inFakeTime(t, l,
			func(_ *http.Request, w *io.PipeWriter) { write(w, connected) },
			func(_ *http.Request, w *io.PipeWriter) { write(w, hello, world, completed) },
		)
		began := time.Now()
		if _, err := c.Execute(t.Context(), client.Request{Text: "x"}, l.onEvent); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 45*time.Second+250*time.Millisecond {
			t.Errorf("took %s", took)
		}
		if diff := cmp.Diff([]string{"1-1", "1-2", "1-3", "1-4"}, l.events); diff != "" {
			t.Error(diff)
		}
	})
}

func TestHeartbeatsKeepTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		c, m := inFakeTime(t, l, func(_ *http.Request, w *io.PipeWriter) {
			write(w, connected)
			for range 100 {
				time.Sleep(15 * time.Second)
				_, _ = io.WriteString(w, ": hb\n\n")
			}
			write(w, completed)
		})
		if _, err := c.Execute(t.Context(), client.Request{Text: "x"}, l.onEvent); err != nil {
			t.Fatal(err)
		}
		if m.requests != 1 || len(l.again) != 0 {
			t.Errorf("%d requests, retries %v", m.requests, l.again)
		}
	})
}

// A proxy may cut every stream after a minute while the agent thinks for an hour.
func TestPatienceIsForConnectionsWithoutLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		steps := []func(*http.Request, *io.PipeWriter){func(_ *http.Request, w *io.PipeWriter) { write(w, connected); _ = w.Close() }}
		for range 60 {
			steps = append(steps, func(_ *http.Request, w *io.PipeWriter) {
				for range 4 {
					time.Sleep(15 * time.Second)
					_, _ = io.WriteString(w, ": hb\n\n")
				}
				_ = w.Close()
			})
		}
		steps = append(steps, func(_ *http.Request, w *io.PipeWriter) { write(w, completed) })
		c, _ := inFakeTime(t, l, steps...)
		if _, err := c.Execute(t.Context(), client.Request{Text: "x"}, l.onEvent); err != nil {
			t.Fatal(err)
		}
	})
}

// holding answers the first request only after a while, as a proxy does that waits for a worker.
type holding struct {
	http.RoundTripper
	held time.Duration
}

func (h *holding) RoundTrip(req *http.Request) (*http.Response, error) {
	if trace := httptrace.ContextClientTrace(req.Context()); h.held > 0 && trace != nil {
		trace.WroteHeaders()
		if trace.WroteRequest != nil {
			trace.WroteRequest(httptrace.WroteRequestInfo{})
		}
		select {
		case <-time.After(h.held):
			h.held = 0
		case <-req.Context().Done():
			return nil, context.Cause(req.Context())
		}
	}
	return h.RoundTripper.RoundTrip(req)
}

// A job that a proxy holds while all workers are busy is waited for; it is neither posted again nor given up.
func TestAHeldJobIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		m := &memory{steps: []func(*http.Request, *io.PipeWriter){func(_ *http.Request, w *io.PipeWriter) { write(w, connected, completed) }}}
		c, err := client.New(client.Config{
			BaseURL: "http://worker", Transport: &holding{m, 10 * time.Minute}, NewID: func() string { return sessionID },
			OnRetry: func(r client.Retry) { l.again = append(l.again, r) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Execute(t.Context(), client.Request{Text: "x"}, l.onEvent); err != nil || m.requests != 1 || len(l.again) != 0 {
			t.Errorf("%d requests, retries %v: %v", m.requests, l.again, err)
		}
	})
}

func TestEndlessSilenceIsALostStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		steps := []func(*http.Request, *io.PipeWriter){func(_ *http.Request, w *io.PipeWriter) { write(w, connected) }}
		for range 100 {
			steps = append(steps, func(*http.Request, *io.PipeWriter) {})
		}
		c, m := inFakeTime(t, l, steps...)
		_, err := c.Execute(t.Context(), client.Request{Text: "x"}, l.onEvent)
		mustBe[*client.LostError](t, err)
		if m.requests > 30 {
			t.Errorf("%d requests", m.requests)
		}
	})
}
