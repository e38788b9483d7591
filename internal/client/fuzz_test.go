package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

// Whatever a stream holds, a call ends, and what it hands on is JSON of one line.
func FuzzStream(f *testing.F) {
	for _, seed := range []string{
		"", frame(connected) + frame(completed), "data: {}\n\n", "data:{\"id\":5}\n\n", "id: 1\r\ndata: {\ndata: }\r\n\r\n",
		"data\n\ndata:\n\n:\n\n\n\n\n", "event: x\nretry: 1\n\n", "data: {\"type\":\"error\"}", "\xff\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := &memory{}
		for range 100 {
			m.steps = append(m.steps, func(_ *http.Request, w *io.PipeWriter) { _, _ = w.Write(raw); _ = w.Close() })
		}
		c, err := client.New(client.Config{BaseURL: "http://worker", Transport: m, Wait: func(context.Context, time.Duration) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		end, err := c.Execute(t.Context(), client.Request{Text: "x"}, func(e client.Event) error {
			if !json.Valid(e.Raw) {
				t.Errorf("%q is not JSON", e.Raw)
			}
			for _, b := range e.Raw {
				if b == '\n' || b == '\r' {
					t.Errorf("%q has a line's end", e.Raw)
				}
			}
			e.Body()
			return nil
		})
		var lost *client.LostError
		if err != nil && !errors.As(err, &lost) || err == nil && !end.Terminal() {
			t.Errorf("ended with %+v, %v", end, err)
		}
	})
}
