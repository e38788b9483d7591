// Package modeltest is a model's API on loopback that answers from a script: the Anthropic Messages API, streamed and
// not, and OpenAI's Responses API, streamed, with the faults of the real ones. It remembers every request, so that a test can see which credential arrived, and
// whether an earlier conversation came along.
package modeltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Endpoint serves the API. It is safe for concurrent use.
type Endpoint struct {
	// URL is the base URL to give to a client; it has no path.
	URL string

	server *http.Server
	closed chan struct{}

	mu       sync.Mutex
	turns    []Turn
	answer   func(Request) Turn
	requests []Request
	answered int
	arrived  chan struct{} // closed and made anew at each request
}

// Start serves on a free port of loopback and answers requests for a message with turns, in order. A request beyond
// the script is answered with 400, which no client tries again.
func Start(turns ...Turn) (*Endpoint, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the scripted model: %w", err)
	}
	e := &Endpoint{
		URL: "http://" + listener.Addr().String(), turns: slices.Clone(turns),
		closed: make(chan struct{}), arrived: make(chan struct{}),
	}
	e.server = &http.Server{Handler: http.HandlerFunc(e.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(e.closed)
		_ = e.server.Serve(listener)
	}()
	return e, nil
}

// Close cuts every connection and stops serving.
func (e *Endpoint) Close() error {
	err := e.server.Close()
	<-e.closed
	return err
}

// Add appends turns to the script.
func (e *Endpoint) Add(turns ...Turn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.turns = append(e.turns, turns...)
}

// Answer lets a function decide instead of the script: for several conversations at once, or tools whose input depends
// on the request. It is called from many goroutines, one for each connection.
func (e *Endpoint) Answer(decide func(Request) Turn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = decide
}

// Requests are the requests for a message so far, in the order of their arrival.
func (e *Endpoint) Requests() []Request {
	return slices.DeleteFunc(e.All(), func(r Request) bool { return !isMessage(r) })
}

// All are all requests so far, probes and unknown routes included.
func (e *Endpoint) All() []Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.requests)
}

// Wait returns once n requests for a message have arrived, or with the context's cause.
func (e *Endpoint) Wait(ctx context.Context, n int) error {
	for {
		e.mu.Lock()
		count, arrived := e.answered, e.arrived
		e.mu.Unlock()
		if count >= n {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return fmt.Errorf("waited for %d requests, saw %d: %w", n, count, context.Cause(ctx))
		}
	}
}

func isMessage(r Request) bool {
	return r.Method == http.MethodPost && (r.Path == "/v1/messages" || isResponses(r))
}

func isResponses(r Request) bool { return r.Path == "/v1/responses" }

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client left; there is nobody to answer
	}
	req := Request{Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Body: body}
	decodeErr := errors.New("no message")
	switch {
	case isResponses(req):
		decodeErr = req.decodeResponses()
	case isMessage(req):
		decodeErr = req.decode()
	}
	turn, n := e.record(req, decodeErr == nil)
	switch {
	case isMessage(req) && decodeErr != nil:
		writeError(w, req, Turn{Status: http.StatusBadRequest, Message: decodeErr.Error()})
	case isMessage(req):
		e.reply(r.Context(), w, req, turn, n)
	case req.Path == "/v1/messages/count_tokens":
		writeJSON(w, http.StatusOK, map[string]any{"input_tokens": len(body) / 4})
	case req.Path == "/" || r.Method == http.MethodHead:
		w.WriteHeader(http.StatusOK)
	default:
		writeError(w, req, Turn{Status: http.StatusNotFound, Message: "no route " + req.Path})
	}
}

// record keeps the request, and for one that wants a message finds its turn and its number.
func (e *Endpoint) record(req Request, wantsTurn bool) (Turn, int) {
	e.mu.Lock()
	e.requests = append(e.requests, req)
	var turn Turn
	decide := e.answer
	if wantsTurn {
		e.answered++
		if decide == nil {
			turn = e.next()
		}
	}
	n := e.answered
	close(e.arrived)
	e.arrived = make(chan struct{})
	e.mu.Unlock()

	if wantsTurn && decide != nil {
		turn = decide(req)
	}
	return turn, n
}

// next takes the turn that stands first in the script; e.mu is held.
func (e *Endpoint) next() Turn {
	if len(e.turns) == 0 {
		return Turn{Status: http.StatusBadRequest, Message: "the script has no more turns"}
	}
	turn := e.turns[0]
	switch {
	case turn.Times == Always:
	case turn.Times > 1:
		e.turns[0].Times--
	default:
		e.turns = e.turns[1:]
	}
	return turn
}

func (e *Endpoint) reply(ctx context.Context, w http.ResponseWriter, req Request, turn Turn, n int) {
	if turn.Delay > 0 {
		select {
		case <-time.After(turn.Delay):
		case <-ctx.Done():
			return
		}
	}
	maps.Copy(w.Header(), turn.Header)
	a := answer{turn: turn, id: fmt.Sprintf("msg_%06d", n), n: n, model: req.Model}
	switch {
	case turn.Status >= 400:
		writeError(w, req, turn)
	case isResponses(req):
		responses{turn: turn, n: n}.stream(ctx, w)
	case req.Stream:
		a.stream(ctx, w)
	case turn.Hang:
		<-ctx.Done()
	case turn.Cut:
		panic(http.ErrAbortHandler)
	case turn.StreamError:
		turn.Status = http.StatusInternalServerError
		writeError(w, req, turn)
	default:
		writeJSON(w, http.StatusOK, a.message())
	}
}

func writeError(w http.ResponseWriter, req Request, turn Turn) {
	if turn.RetryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(turn.RetryAfter.Seconds())))
	}
	if isResponses(req) {
		writeJSON(w, turn.Status, map[string]any{"error": turn.openAIError()})
		return
	}
	writeJSON(w, turn.Status, turn.apiError())
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Request-Id", "req_scripted")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that left is its own affair
}
