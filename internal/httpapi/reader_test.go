package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// stream is an SSE response.
type stream struct {
	t      testing.TB
	resp   *http.Response
	lines  *bufio.Reader
	cancel context.CancelFunc
}

func (w *worker) stream(method, path, body string, header ...string) *stream {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	resp := w.open(ctx, method, path, body, append(header, "Accept", "text/event-stream")...)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		raw, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("%s %s: %d %s: %s", method, path, resp.StatusCode, resp.Header.Get("Content-Type"), raw)
	}
	return &stream{t: w.t, resp: resp, lines: bufio.NewReader(resp.Body), cancel: cancel}
}

// frame is one frame as it was sent; io.EOF after the last.
func (s *stream) frame() (string, error) {
	var frame strings.Builder
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			if frame.Len()+len(line) > 0 {
				s.t.Errorf("the stream ends within a frame: %.100q…", frame.String()+line)
			}
			return "", err
		}
		if line == "\n" {
			return frame.String(), nil
		}
		frame.WriteString(line)
	}
}

// event is the next event's ID and JSON; comments are passed over.
func (s *stream) event() (id, data string, err error) {
	for {
		frame, err := s.frame()
		if err != nil {
			return "", "", err
		}
		if strings.HasPrefix(frame, ":") {
			continue
		}
		head, data, ok := strings.Cut(frame, "\ndata: ")
		id, isID := strings.CutPrefix(head, "id: ")
		if !ok || !isID || strings.Count(data, "\n") != 1 {
			return "", "", fmt.Errorf("frame %q is not an id and one line of data", frame)
		}
		return id, strings.TrimSuffix(data, "\n"), nil
	}
}

// rest is the IDs of all that comes up to the end, which must be a clean one.
func (s *stream) rest() []string {
	s.t.Helper()
	defer s.resp.Body.Close()
	var ids []string
	for {
		id, _, err := s.event()
		if errors.Is(err, io.EOF) {
			return ids
		}
		if err != nil {
			s.t.Errorf("after %d events: %v", len(ids), err)
			return ids
		}
		ids = append(ids, id)
	}
}

// restLater reads beside the test.
func (s *stream) restLater() <-chan []string {
	ids := make(chan []string, 1)
	go func() { ids <- s.rest() }()
	return ids
}
