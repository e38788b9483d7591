package modeltest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
)

const (
	whole    = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`
	streamed = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`
)

func post(t *testing.T, e *modeltest.Endpoint, path, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Api-Key", "sk-canary")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func decode(t *testing.T, r io.Reader) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.NewDecoder(r).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// events reads a stream to its end, the types of its events in order and the text of its deltas.
func events(r io.Reader) (types []string, text string, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var event struct {
			Type  string
			Delta struct {
				Text    string
				Partial string `json:"partial_json"`
			}
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return types, text, err
		}
		types = append(types, event.Type)
		text += event.Delta.Text + event.Delta.Partial
	}
	return types, text, lines.Err()
}

func TestWholeMessage(t *testing.T) {
	e := modeltest.StartTest(t, modeltest.Turn{Text: "hi", Calls: []modeltest.Call{modeltest.Bash("date")}})
	got := decode(t, post(t, e, "/v1/messages", whole).Body)
	want := []any{
		map[string]any{"type": "text", "text": "hi"},
		map[string]any{"type": "tool_use", "id": "toolu_000001_0", "name": "Bash", "input": map[string]any{"command": "date", "description": "run a command"}},
	}
	if diff := cmp.Diff(want, got["content"]); diff != "" || got["stop_reason"] != "tool_use" {
		t.Errorf("stop_reason %v, content: %s", got["stop_reason"], diff)
	}
}

func TestStream(t *testing.T) {
	e := modeltest.StartTest(t, modeltest.Turn{Text: "hi", Calls: []modeltest.Call{{Name: "Read", Input: map[string]any{"file_path": "/x"}}}})
	types, text, err := events(post(t, e, "/v1/messages", streamed).Body)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop",
		"content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
	}
	if diff := cmp.Diff(want, types); diff != "" || text != `hi{"file_path":"/x"}` {
		t.Errorf("text %q, events: %s", text, diff)
	}
}

func TestScriptIsFollowed(t *testing.T) {
	e := modeltest.StartTest(t, modeltest.Turn{Text: "a", Times: 2}, modeltest.Turn{Text: "b"})
	var got []string
	say := func() {
		answer := decode(t, post(t, e, "/v1/messages", whole).Body)
		if content, ok := answer["content"].([]any); ok {
			got = append(got, content[0].(map[string]any)["text"].(string))
		} else {
			got = append(got, answer["error"].(map[string]any)["type"].(string))
		}
	}
	for range 4 {
		say()
	}
	e.Add(modeltest.Turn{Text: "c", Times: modeltest.Always})
	say()
	say()
	e.Answer(func(r modeltest.Request) modeltest.Turn {
		return modeltest.Turn{Text: "to " + r.Messages[0].Blocks[0].Text}
	})
	say()
	if diff := cmp.Diff([]string{"a", "a", "b", "invalid_request_error", "c", "c", "to hello"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestErrors(t *testing.T) {
	for status, want := range map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
		413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error",
	} {
		e := modeltest.StartTest(t, modeltest.Turn{Status: status, RetryAfter: 7 * time.Second, Header: http.Header{"X-Extra": {"1"}}})
		res := post(t, e, "/v1/messages", streamed)
		kind := decode(t, res.Body)["error"].(map[string]any)["type"]
		if res.StatusCode != status || kind != want || res.Header.Get("Retry-After") != "7" || res.Header.Get("X-Extra") != "1" {
			t.Errorf("status %d: %d %v %v", status, res.StatusCode, kind, res.Header)
		}
	}
}

func TestFaultsInTheStream(t *testing.T) {
	head := []string{"message_start", "ping", "content_block_start", "content_block_delta"}
	e := modeltest.StartTest(t, modeltest.Turn{Text: "four", StreamError: true}, modeltest.Turn{Text: "four", Cut: true})
	types, text, err := events(post(t, e, "/v1/messages", streamed).Body)
	if diff := cmp.Diff(append(head, "error"), types); diff != "" || text != "fo" || err != nil {
		t.Errorf("an error in the stream: %q, %v: %s", text, err, diff)
	}
	types, text, err = events(post(t, e, "/v1/messages", streamed).Body)
	if diff := cmp.Diff(head, types); diff != "" || text != "fo" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut stream: %q, %v: %s", text, err, diff)
	}
}

func TestHangEndsWithTheEndpoint(t *testing.T) {
	e, err := modeltest.Start(modeltest.Turn{Text: "four", Hang: true})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	res := post(t, e, "/v1/messages", streamed)
	go func() {
		_, _, err := events(res.Body)
		ended <- err
	}()
	if err := e.Wait(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the stream ended as if it were whole")
	}
}

func TestWaitGivesUp(t *testing.T) {
	e := modeltest.StartTest(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := e.Wait(ctx, 1); !errors.Is(err, cause) {
		t.Errorf("Wait: %v", err)
	}
}

func TestRequests(t *testing.T) {
	e := modeltest.StartTest(t, modeltest.Turn{Text: "done"})
	for _, probe := range []string{"/v1/messages/count_tokens", "/v1/nothing"} {
		post(t, e, probe, "{}")
	}
	post(t, e, "/v1/messages", `{"model":"m","system":[{"type":"text","text":"be"},{"type":"text","text":"brief"}],"tools":[{"name":"Bash"}],"messages":[
		{"role":"user","content":[{"type":"text","text":"look"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AQID"}}]},
		{"role":"assistant","content":[{"type":"tool_use","name":"Bash","input":{"command":"date"}}]},
		{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"monday"}],"is_error":true}]}]}`)
	if n := len(e.All()); n != 3 {
		t.Errorf("%d requests in all", n)
	}
	requests := e.Requests()
	if len(requests) != 1 {
		t.Fatalf("%d requests for a message", len(requests))
	}
	r := requests[0]
	want := []modeltest.Message{
		{Role: "user", Blocks: []modeltest.Block{{Type: "text", Text: "look"}, {Type: "image", MediaType: "image/png", Data: []byte{1, 2, 3}}}},
		{Role: "assistant", Blocks: []modeltest.Block{{Type: "tool_use", Name: "Bash", Input: json.RawMessage(`{"command":"date"}`)}}},
		{Role: "user", Blocks: []modeltest.Block{{Type: "tool_result", Text: "monday", IsError: true}}},
	}
	if diff := cmp.Diff(want, r.Messages); diff != "" {
		t.Error(diff)
	}
	if r.System != "be\nbrief" || r.Tools[0] != "Bash" || r.Header.Get("X-Api-Key") != "sk-canary" || r.Text() != "look\nmonday" ||
		len(r.Images()) != 1 || r.Results()[0] != "monday" {
		t.Errorf("%+v", r)
	}
}
