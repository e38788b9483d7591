package script

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// outputLine is one line of the script's output. It is text whatever it looks like: a script must not be able to speak
// as the provider.
type outputLine struct {
	Type string `json:"type"` // output
	Text string `json:"text"`
}

// resultLine is the last message of a script that ended by itself.
type resultLine struct {
	Type       string `json:"type"` // result
	ExitCode   int    `json:"exitCode"`
	Signal     string `json:"signal,omitempty"` // that ended it; the exit code is -1 then
	DurationMS int64  `json:"duration_ms"`
}

func (r *run) line(raw []byte) error {
	r.tail.add(raw)
	return r.say(providers.KindOutput, outputLine{Type: "output", Text: agentproc.Text(raw)})
}

func (r *run) say(kind providers.Kind, v any) error {
	raw, err := encode(v)
	if err != nil {
		return err
	}
	return r.emit(providers.Message{Kind: kind, Raw: raw})
}

// encode leaves < > and & as they are, for people who read along.
func encode(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode a line of the script: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// finish tells how the script ended, to the reader and to the caller.
func (r *run) finish(waitErr error) error {
	exit := new(agentproc.ExitError)
	if waitErr != nil && !errors.As(waitErr, &exit) {
		return fmt.Errorf("wait for the script: %w", waitErr)
	}
	result := resultLine{Type: "result", ExitCode: exit.Code, DurationMS: time.Since(r.begun).Milliseconds()}
	if exit.Signal != 0 {
		result.Signal = exit.Signal.String()
	}
	if err := r.say(providers.KindResult, result); err != nil {
		return err
	}
	if waitErr == nil {
		return nil
	}
	return &agentproc.ExitError{Name: "script", Code: exit.Code, Signal: exit.Signal, Stderr: r.tail.String(), OutOfMemory: exit.OutOfMemory}
}

// maxTail is how much of the end of the output goes with the error of a script that failed.
const maxTail = 4 << 10

// tail keeps the end of what was added.
type tail struct{ kept []byte }

func (t *tail) add(line []byte) {
	line = line[max(len(line)-maxTail, 0):]
	t.kept = append(append(t.kept, line...), '\n')
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
}

func (t *tail) String() string { return string(bytes.ToValidUTF8(t.kept, nil)) }
