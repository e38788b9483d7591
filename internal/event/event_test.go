package event_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

func TestMarshal(t *testing.T) {
	at := time.Date(2026, 3, 14, 10, 26, 53, 589_999_999, time.FixedZone("", 3600))
	pushed := false
	for _, tt := range []struct {
		body event.Body
		want string
	}{
		{event.Notice{Message: "a <b> & \"c\"\n\u2028"}, `{"type":"message","id":"2-7","timestamp":"2026-03-14T09:26:53.589Z","message":"a <b> & \"c\"\n\u2028"}`},
		{event.Completed{SessionID: "s", Pushed: &pushed}, `{"type":"completed","id":"2-7","timestamp":"2026-03-14T09:26:53.589Z","sessionId":"s","duration_ms":0,"pushed":false}`},
		{event.AssistantMessage{Data: json.RawMessage(`{"z":1,"a":[]}`)}, `{"type":"assistant_message","id":"2-7","timestamp":"2026-03-14T09:26:53.589Z","data":{"z":1,"a":[]}}`},
		{event.Failed{Error: "e", Code: event.Timeout}, `{"type":"error","id":"2-7","timestamp":"2026-03-14T09:26:53.589Z","error":"e","code":"timeout"}`},
	} {
		got, err := event.Event{ID: event.ID{Attempt: 2, N: 7}, Time: at, Body: tt.body}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if !json.Valid(got) || event.TypeOf(got) != tt.body.Type() || event.IDOf(got) != (event.ID{Attempt: 2, N: 7}) {
			t.Errorf("%s: valid %v, type %q, ID %v", got, json.Valid(got), event.TypeOf(got), event.IDOf(got))
		}
	}
}

func TestMarshalRefusesWhatIsNoJSON(t *testing.T) {
	_, err := event.Event{Body: event.AssistantMessage{Data: json.RawMessage(`{"a":`)}}.MarshalJSON()
	if err == nil {
		t.Error("a broken line was encoded")
	}
}

func TestIDs(t *testing.T) {
	ordered := []event.ID{{}, {Attempt: 1, N: 1}, {Attempt: 1, N: 2}, {Attempt: 1, N: 10}, {Attempt: 1, N: event.Lost}, {Attempt: 2, N: 1}}
	for i, id := range ordered[1:] {
		if !ordered[i].Before(id) || id.Before(ordered[i]) || id.Before(id) {
			t.Errorf("%v and %v are out of order", ordered[i], id)
		}
		back, err := event.ParseID(id.String())
		if err != nil || back != id {
			t.Errorf("%v comes back as %v, %v", id, back, err)
		}
	}
	if got := (event.ID{Attempt: 3, N: event.Lost}).String(); got != "3-lost" {
		t.Errorf("the ID of a lost attempt is %s", got)
	}
	for _, bad := range []string{"1", "-1", "1-", "-", "a-1", "1-b", "-1-1", "1--1", "1-9223372036854775807"} {
		if id, err := event.ParseID(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, id)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("1-2")
	f.Add("3-lost")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := event.ParseID(s)
		if err != nil || s == "" {
			return
		}
		if again, err := event.ParseID(id.String()); err != nil || again != id {
			t.Errorf("%q is %v, and %s is %v, %v", s, id, id, again, err)
		}
	})
}

func FuzzTypeOf(f *testing.F) {
	f.Add([]byte(`{"type":"error","id":"1-1"}`))
	f.Add([]byte(`{"id":"1-1","type":"completed"}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(_ *testing.T, line []byte) {
		event.TypeOf(line)
		event.IDOf(line)
	})
}
