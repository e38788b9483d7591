package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const (
	post   = "POST /execute"
	stream = "GET /sessions/" + sessionID + "/stream"
)

func TestExecuteStreamsAJobToItsEnd(t *testing.T) {
	w := startWorker(t, streams(connected, hello, world, completed))
	l := &log{}
	end, err := newClient(t, w.URL, l).Execute(t.Context(), client.Request{Text: "x"}, l.onEvent)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1-1", "1-2", "1-3", "1-4"}, l.events); diff != "" {
		t.Error(diff)
	}
	if string(end.Raw) != completed || !end.Time.Equal(time.Date(2026, 3, 14, 9, 26, 53, 589e6, time.UTC)) {
		t.Errorf("terminal event is %s at %s", end.Raw, end.Time)
	}
	body, ok := end.Body().(event.Completed)
	if !ok || body.DurationMS != 413 {
		t.Errorf("body is %#v", end.Body())
	}
}

func TestExecuteSendsWhatTheContractSays(t *testing.T) {
	w := startWorker(t, streams(completed))
	l := &log{}
	c := newClient(t, w.URL+"/behind/a/path/", l)
	_, err := c.Execute(t.Context(), client.Request{
		Text: "look <here>", Images: []client.Image{{MediaType: "image/png", Data: []byte("png")}},
		Provider: "claude", Credential: secret.New("sk-canary"), SessionID: "a.session", MustExist: true,
		Repo:     &client.Repo{URL: "https://example.com/r.git", Branch: "b", Directory: "d", Token: secret.New("token-canary")},
		NoCommit: true, Options: client.Options{Model: "m", PermissionMode: "plan", MaxTurns: 3},
	}, l.onEvent)
	if err != nil {
		t.Fatal(err)
	}
	got := w.seen()[0]
	want := map[string]any{
		"userRequest": []any{
			map[string]any{"type": "text", "text": "look <here>"},
			map[string]any{"type": "image", "source": map[string]any{"type": "base64", "media_type": "image/png", "data": "cG5n"}},
		},
		"codingAssistantProvider": "claude", "codingAssistantAuthentication": "sk-canary", "resumeSessionId": "a.session",
		"github":          map[string]any{"repoUrl": "https://example.com/r.git", "branch": "b", "directory": "d", "accessToken": "token-canary"},
		"autoCommit":      false,
		"providerOptions": map[string]any{"model": "m", "permissionMode": "plan", "maxTurns": 3.0},
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
	got.Body = ""
	if diff := cmp.Diff(seen{Method: "POST", URI: "/behind/a/path/execute", Accept: "text/event-stream"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestExecuteOmitsWhatIsNotGiven(t *testing.T) {
	w := startWorker(t, streams(completed))
	l := &log{}
	if _, err := newClient(t, w.URL, l).Execute(t.Context(), client.Request{Text: "x"}, l.onEvent); err != nil {
		t.Fatal(err)
	}
	want := `{"userRequest":"x","websiteSessionId":"` + sessionID + `"}` + "\n"
	if got := w.seen()[0].Body; got != want {
		t.Errorf("body is %s", got)
	}
}

func TestExecuteWaitsForAFreeWorker(t *testing.T) {
	soon := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	w := startWorker(t,
		answers(429, `{"error":"busy","message":"busy","retryAfter":7}`, "Retry-After", "7"),
		answers(429, `{"error":"busy","message":"busy","retryAfter":3.5}`),
		answers(503, `{"error":"shutting_down","message":"bye"}`, "Retry-After", soon.Add(20*time.Second).Format(http.TimeFormat)),
		answers(503, `no worker`, "Retry-After", "86400"),
		streams(connected, completed),
	)
	l := &log{}
	c := newClient(t, w.URL, l, func(cfg *client.Config) { cfg.Now = func() time.Time { return soon } })
	if _, err := c.Execute(t.Context(), client.Request{Text: "x"}, l.onEvent); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]time.Duration{7 * time.Second, 3500 * time.Millisecond, 20 * time.Second, time.Minute}, l.waits); diff != "" {
		t.Error(diff)
	}
	if len(l.again) != 4 || l.again[0].Reconnect || l.again[0].Wait != 7*time.Second {
		t.Errorf("told %v", l.again)
	}
	if diff := cmp.Diff([]string{post, post, post, post, post}, w.calls()); diff != "" {
		t.Error(diff)
	}
}

func TestExecuteGivesUpOnBusyWorkers(t *testing.T) {
	busy := answers(429, `{"error":"busy","message":"all busy"}`, "Retry-After", "40")
	w := startWorker(t, busy, busy, busy)
	l := &log{}
	c := newClient(t, w.URL, l, func(cfg *client.Config) { cfg.BusyWait = 90 * time.Second })
	_, err := c.Execute(t.Context(), client.Request{Text: "x"}, l.onEvent)
	if answer := mustBe[*client.APIError](t, err); answer.Code != event.Busy || !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	if len(l.waits) != 2 {
		t.Errorf("waited %v, want two waits of 40 s within 90 s", l.waits)
	}
}

func TestExecuteWaitsForAWorkerToListen(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	l := &log{}
	c := newClient(t, "http://"+addr, l, func(cfg *client.Config) {
		cfg.Wait = func(context.Context, time.Duration) error {
			again, err := net.Listen("tcp", addr)
			if err != nil {
				return err
			}
			server := httptest.NewUnstartedServer(streams(connected, completed))
			_ = server.Listener.Close()
			server.Listener = again
			server.Start()
			t.Cleanup(server.Close)
			return nil
		}
	})
	if _, err := c.Execute(t.Context(), client.Request{Text: "x"}, l.onEvent); err != nil {
		t.Fatal(err)
	}
	if len(l.again) != 1 || l.again[0].Reconnect {
		t.Errorf("told %v, want one retry", l.again)
	}
}

func TestExecuteReturnsRefusals(t *testing.T) {
	for _, test := range []struct {
		name string
		step http.HandlerFunc
		want client.APIError
		text string
	}{
		{
			"worker's", answers(400, `{"error":"invalid_request","message":"must be https","field":"github.repoUrl","containerId":"c"}`),
			client.APIError{Status: 400, Code: event.InvalidRequest, Field: "github.repoUrl", Message: "must be https"},
			"github.repoUrl: must be https (invalid_request)",
		},
		{
			"session held", answers(409, `{"error":"session_busy","message":"held","retryAfter":5}`),
			client.APIError{Status: 409, Code: event.SessionBusy, Message: "held", RetryAfter: 5 * time.Second},
			"held (session_busy)",
		},
		{"plain", answers(401, "who are you"), client.APIError{Status: 401, Message: "who are you"}, "HTTP 401: who are you"},
		{"a page", answers(404, "<html>"), client.APIError{Status: 404, Message: "Not Found"}, "HTTP 404: Not Found"},
		{"not a stream", answers(200, `{}`), client.APIError{Status: 200, Message: `the answer is "application/json" and not a worker's`}, `HTTP 200: the answer is "application/json" and not a worker's`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := startWorker(t, test.step)
			l := &log{}
			_, err := newClient(t, w.URL, l).Execute(t.Context(), client.Request{Text: "x"}, l.onEvent)
			got := mustBe[*client.APIError](t, err)
			if diff := cmp.Diff(test.want, *got); diff != "" {
				t.Error(diff)
			}
			if err.Error() != test.text {
				t.Errorf("text is %q, want %q", err, test.text)
			}
		})
	}
}

func TestExecuteFollowsNoRedirect(t *testing.T) {
	other := startWorker(t) // fails the test when it is asked
	for _, status := range []int{301, 302, 307, 308} {
		w := startWorker(t, answers(status, "", "Location", other.URL+"/execute"))
		l := &log{}
		_, err := newClient(t, w.URL, l).Execute(t.Context(), client.Request{Text: "x", Credential: secret.New("canary")}, l.onEvent)
		if answer := mustBe[*client.APIError](t, err); answer.Status != status || !strings.Contains(answer.Message, other.URL) {
			t.Errorf("error is %v", err)
		}
	}
}

func TestExecuteSendsNoBigBodyToABusyWorker(t *testing.T) {
	read := make(chan int, 2)
	busy := true
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if busy {
			busy = false
			answers(429, `{"error":"busy"}`)(rw, req)
			return
		}
		var body map[string]any
		if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		read <- len(body["userRequest"].(string))
		streams(completed)(rw, req)
	}))
	defer server.Close()
	l := &log{}
	c := newClient(t, server.URL, l, func(cfg *client.Config) { cfg.Transport = &http.Transport{ExpectContinueTimeout: time.Minute} })
	if _, err := c.Execute(t.Context(), client.Request{Text: strings.Repeat("x", 8<<20)}, l.onEvent); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != 8<<20 || len(l.waits) != 1 {
		t.Errorf("the worker read %d bytes after %d waits", got, len(l.waits))
	}
}

func TestExecuteRefusesAnImpossibleSession(t *testing.T) {
	w := startWorker(t)
	l := &log{}
	for _, id := range []string{"../x", "a/b", "a?b", "a b", "a\nb"} {
		_, err := newClient(t, w.URL, l).Execute(t.Context(), client.Request{Text: "x", SessionID: id}, l.onEvent)
		if !errors.Is(err, client.ErrUsage) {
			t.Errorf("%q: error is %v", id, err)
		}
	}
}
