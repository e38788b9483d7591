package modeltest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// answer is a turn on its way to one request.
type answer struct {
	turn  Turn
	id    string
	n     int // the request's number
	model string
}

// message is the answer in one piece.
func (a answer) message() map[string]any {
	content := []any{}
	if a.turn.Text != "" {
		content = append(content, map[string]any{"type": "text", "text": a.turn.Text})
	}
	for i, c := range a.turn.Calls {
		content = append(content, map[string]any{"type": "tool_use", "id": a.callID(i), "name": c.Name, "input": inputJSON(c)})
	}
	return a.envelope(content, a.turn.stopReason(), a.turn.usage())
}

func (a answer) envelope(content []any, stopReason any, usage Usage) map[string]any {
	return map[string]any{
		"id": a.id, "type": "message", "role": "assistant", "model": a.model, "content": content,
		"stop_reason": stopReason, "stop_sequence": nil, "usage": usageJSON(usage),
	}
}

func (a answer) callID(i int) string {
	if id := a.turn.Calls[i].ID; id != "" {
		return id
	}
	return fmt.Sprintf("toolu_%06d_%d", a.n, i)
}

// stream sends the answer as server-sent events.
func (a answer) stream(ctx context.Context, w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	s := &eventStream{w: w, flusher: http.NewResponseController(w)}

	usage := a.turn.usage()
	start := usage
	start.Output = 1
	s.send("message_start", map[string]any{"message": a.envelope([]any{}, nil, start)})
	s.send("ping", nil)
	if a.fault(ctx, s) {
		return
	}
	if a.turn.Text != "" {
		s.block(map[string]any{"type": "text", "text": ""}, map[string]any{"type": "text_delta", "text": a.turn.Text})
	}
	for i, c := range a.turn.Calls {
		s.block(
			map[string]any{"type": "tool_use", "id": a.callID(i), "name": c.Name, "input": map[string]any{}},
			map[string]any{"type": "input_json_delta", "partial_json": string(inputJSON(c))},
		)
	}
	s.send("message_delta", map[string]any{
		"delta": map[string]any{"stop_reason": a.turn.stopReason(), "stop_sequence": nil}, "usage": usageJSON(usage),
	})
	s.send("message_stop", nil)
}

// fault sends half of the text and then does what the turn says; it reports whether the turn has a fault.
func (a answer) fault(ctx context.Context, s *eventStream) bool {
	if !a.turn.StreamError && !a.turn.Cut && !a.turn.Hang {
		return false
	}
	if head := a.turn.half(); head != "" {
		s.open(map[string]any{"type": "text", "text": ""})
		s.delta(map[string]any{"type": "text_delta", "text": head})
	}
	switch {
	case a.turn.StreamError:
		s.send("error", a.turn.apiError())
	case a.turn.Hang:
		<-ctx.Done()
	case a.turn.Cut:
		panic(http.ErrAbortHandler)
	}
	return true
}

// eventStream writes one event after the other and flushes each.
type eventStream struct {
	w       http.ResponseWriter
	flusher *http.ResponseController
	index   int
}

func (s *eventStream) send(event string, fields map[string]any) {
	data := map[string]any{"type": event}
	for k, v := range fields {
		data[k] = v
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		return // a Turn holds nothing that cannot be marshalled
	}
	_, _ = fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, encoded)
	_ = s.flusher.Flush()
}

func (s *eventStream) block(start, delta map[string]any) {
	s.open(start)
	s.delta(delta)
	s.send("content_block_stop", map[string]any{"index": s.index})
	s.index++
}

func (s *eventStream) open(start map[string]any) {
	s.send("content_block_start", map[string]any{"index": s.index, "content_block": start})
}

func (s *eventStream) delta(delta map[string]any) {
	s.send("content_block_delta", map[string]any{"index": s.index, "delta": delta})
}
