package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// Event is one event of a stream, of whatever type.
type Event struct {
	ID   string
	Type string
	Time time.Time       // zero where the event has none that can be read
	Raw  json.RawMessage // the event as it was sent: one JSON object on one line
}

// Terminal reports whether this is a job's last event.
func (e Event) Terminal() bool { return event.Terminal(e.Type) }

// Body decodes what the event says. It is nil for a type that this client does not know, or whose fields are not what it
// knows.
func (e Event) Body() event.Body {
	if decode := bodies[e.Type]; decode != nil {
		return decode(e.Raw)
	}
	return nil
}

var bodies = map[string]func(json.RawMessage) event.Body{
	event.TypeConnected:        decodeBody[event.Connected],
	event.TypeMessage:          decodeBody[event.Notice],
	event.TypePullProgress:     decodeBody[event.PullProgress],
	event.TypeSessionName:      decodeBody[event.SessionName],
	event.TypeBranchCreated:    decodeBody[event.BranchCreated],
	event.TypeAssistantMessage: decodeBody[event.AssistantMessage],
	event.TypeCommitProgress:   decodeBody[event.CommitProgress],
	event.TypeCompleted:        decodeBody[event.Completed],
	event.TypeError:            decodeBody[event.Failed],
}

func decodeBody[T event.Body](raw json.RawMessage) event.Body {
	var body T
	if json.Unmarshal(raw, &body) != nil {
		return nil
	}
	return body
}

// errTruncated is a frame that is not one JSON object: the connection was cut within it. The reader in front of us hands
// on what it has at the end of a stream, whole or not.
var errTruncated = errors.New("the stream was cut within an event")

// decodeEvent reads one frame's data. The ID inside it and the frame's own are the same; id is used where data has none.
func decodeEvent(id string, data []byte) (Event, error) {
	var head struct {
		Type      string `json:"type"`
		ID        string `json:"id"`
		Timestamp string `json:"timestamp"`
	}
	err := json.Unmarshal(data, &head)
	var oddField *json.UnmarshalTypeError
	if !bytes.HasPrefix(data, []byte("{")) || err != nil && !errors.As(err, &oddField) {
		return Event{}, errTruncated
	}
	e := Event{ID: head.ID, Type: head.Type, Raw: data}
	if e.ID == "" {
		e.ID = id
	}
	if at, err := time.Parse(time.RFC3339, head.Timestamp); err == nil {
		e.Time = at
	}
	if bytes.ContainsAny(data, "\r\n") {
		var line bytes.Buffer
		if json.Compact(&line, data) == nil {
			e.Raw = line.Bytes()
		}
	}
	return e, nil
}

// notAfter reports whether an event with this ID was seen, last being the latest one. IDs that cannot be ordered are
// compared for equality.
func notAfter(id, last string) bool {
	if last == "" || id == "" {
		return false
	}
	a, errA := event.ParseID(id)
	b, errB := event.ParseID(last)
	if errA != nil || errB != nil {
		return id == last
	}
	return !b.Before(a)
}
