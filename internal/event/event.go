// Package event is the vocabulary of the wire: the events that a job tells its readers and keeps in its
// session's log, and the codes of its failures. It depends on nothing else in the project.
package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TimeFormat is RFC 3339 in UTC with milliseconds, as every event's timestamp is written.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// Event is one line of a session's log and one frame of its stream.
type Event struct {
	ID   ID
	Time time.Time
	Body Body
}

// Body is what an event says; the set is sealed, one type for each value of the wire's "type".
type Body interface {
	// Type is the event's "type" on the wire.
	Type() string
	sealed()
}

// MarshalJSON writes one flat object: type, id and timestamp first, then the body's own fields.
func (e Event) MarshalJSON() ([]byte, error) {
	body, err := encode(e.Body)
	if err != nil {
		return nil, fmt.Errorf("encode %s event: %w", e.Body.Type(), err)
	}
	line := make([]byte, 0, len(body)+80)
	line = append(line, `{"type":"`...)
	line = append(line, e.Body.Type()...)
	line = append(line, `","id":"`...)
	line = append(line, e.ID.String()...)
	line = append(line, `","timestamp":"`...)
	line = e.Time.UTC().AppendFormat(line, TimeFormat)
	line = append(line, '"')
	if len(body) > len("{}") {
		line = append(line, ',')
		return append(line, body[1:]...), nil
	}
	return append(line, '}'), nil
}

// encode is json.Marshal without HTML escaping: what the agent prints is passed on as it was.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// ID is an event's place in its session: the attempt, and the number within it, from 1 without gaps. On the wire it is
// "<attempt>-<n>" and opaque. The event that closes a dead attempt has N == Lost and the ID "<attempt>-lost".
type ID struct {
	Attempt int
	N       int
}

// Lost is the N of the event that another worker wrote for an attempt whose own worker died; it sorts after every real one.
const Lost = int(^uint(0) >> 1)

// String is the wire form.
func (id ID) String() string {
	if id.N == Lost {
		return strconv.Itoa(id.Attempt) + "-lost"
	}
	return strconv.Itoa(id.Attempt) + "-" + strconv.Itoa(id.N)
}

// Before reports whether id stands earlier in its session than other.
func (id ID) Before(other ID) bool {
	return id.Attempt < other.Attempt || id.Attempt == other.Attempt && id.N < other.N
}

// ParseID reads the wire form. The empty string is the zero ID, which stands before every event.
func ParseID(s string) (ID, error) {
	if s == "" {
		return ID{}, nil
	}
	attempt, n, ok := strings.Cut(s, "-")
	a, errA := strconv.Atoi(attempt)
	if !ok || errA != nil || a < 0 {
		return ID{}, fmt.Errorf("event ID %q: want <attempt>-<number>", s)
	}
	if n == "lost" {
		return ID{Attempt: a, N: Lost}, nil
	}
	num, err := strconv.Atoi(n)
	if err != nil || num < 0 || num == Lost {
		return ID{}, fmt.Errorf("event ID %q: want <attempt>-<number>", s)
	}
	return ID{Attempt: a, N: num}, nil
}

// Header is what every stored line has, whatever its type.
type Header struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// Terminal reports whether an event of this type is a job's last.
func Terminal(eventType string) bool { return eventType == TypeCompleted || eventType == TypeError }

// maxHead is more than type and ID take at the beginning of a line.
const maxHead = 128

// TypeOf reads the type of an encoded event, which stands first in it.
func TypeOf(line []byte) string {
	const prefix = `{"type":"`
	if rest, ok := bytes.CutPrefix(line, []byte(prefix)); ok {
		if end := bytes.IndexByte(rest, '"'); end >= 0 {
			return string(rest[:end])
		}
	}
	var h Header
	_ = json.Unmarshal(line, &h)
	return h.Type
}

// IDOf reads the ID of an encoded event, which stands behind its type; the zero ID where the line has none.
func IDOf(line []byte) ID {
	if _, rest, ok := bytes.Cut(line[:min(len(line), maxHead)], []byte(`","id":"`)); ok {
		if text, _, ok := bytes.Cut(rest, []byte(`"`)); ok {
			if id, err := ParseID(string(text)); err == nil {
				return id
			}
		}
	}
	var h Header
	if err := json.Unmarshal(line, &h); err != nil {
		return ID{}
	}
	id, err := ParseID(h.ID)
	if err != nil {
		return ID{}
	}
	return id
}
