package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

var (
	// ErrUsage is a value that no worker would take; nothing was sent.
	ErrUsage = errors.New("wrong value")
	// ErrUnavailable is that no worker took the request: all busy, going away or unreachable, or the session is held.
	ErrUnavailable = errors.New("no worker available")
)

// APIError is a worker's answer, or a proxy's, that says no.
type APIError struct {
	Status     int
	Code       event.Code // empty where it was not a worker that answered
	Field      string     // of the request, where one is at fault
	Message    string     // for people; it comes from the network and may hold anything
	RetryAfter time.Duration
}

// Error implements error.
func (e *APIError) Error() string {
	text := e.Message
	if text == "" {
		text = http.StatusText(e.Status)
	}
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Code == "" {
		return fmt.Sprintf("HTTP %d: %s", e.Status, text)
	}
	return fmt.Sprintf("%s (%s)", text, e.Code)
}

// Is makes errors.Is(err, ErrUnavailable) true for a worker that is busy, going away, or refuses a session that is held.
func (e *APIError) Is(target error) bool {
	return target == ErrUnavailable && (e.retryable() || e.Status == http.StatusConflict)
}

// retryable reports whether the same request may be taken later or by another worker, having had no effect so far.
func (e *APIError) retryable() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
}

// uncertain reports whether a proxy answered in place of a worker, which may have taken the request all the same.
func (e *APIError) uncertain() bool {
	return e.Code == "" && (e.Status == http.StatusBadGateway || e.Status == http.StatusGatewayTimeout)
}

// passing reports whether asking again for a stream makes sense.
func (e *APIError) passing() bool {
	return e.Status == http.StatusTooManyRequests || e.Status >= http.StatusInternalServerError
}

// LostError is a stream that could not be followed to its terminal event. The job may be running still.
type LostError struct {
	SessionID   string
	LastEventID string // empty: no event was seen
	Err         error
}

// Error implements error.
func (e *LostError) Error() string {
	if e.LastEventID == "" {
		return fmt.Sprintf("session %s: not known whether a worker took the job: %v", e.SessionID, e.Err)
	}
	return fmt.Sprintf("session %s: stream lost after event %s: %v", e.SessionID, e.LastEventID, e.Err)
}

// Unwrap makes the reason visible to errors.As.
func (e *LostError) Unwrap() error { return e.Err }

// maxErrorBody bounds what is read of an answer that says no.
const maxErrorBody = 64 << 10

// readError makes an *APIError of a response that is not the expected one, and closes it.
func readError(res *http.Response, now time.Time) *APIError {
	defer func() { _ = res.Body.Close() }()
	e := &APIError{Status: res.StatusCode, RetryAfter: retryAfter(res.Header.Get("Retry-After"), now)}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	var answer struct {
		Error      event.Code `json:"error"`
		Message    string     `json:"message"`
		Field      string     `json:"field"`
		RetryAfter float64    `json:"retryAfter"`
	}
	if json.Unmarshal(body, &answer) == nil {
		e.Code, e.Message, e.Field = answer.Error, answer.Message, answer.Field
	}
	if e.RetryAfter == 0 && answer.RetryAfter > 0 {
		e.RetryAfter = time.Duration(min(answer.RetryAfter, maxRetryAfter.Seconds()) * float64(time.Second))
	}
	if e.Message == "" {
		e.Message = describe(res, body)
	}
	return e
}

// describe finds words for an answer that no worker gave.
func describe(res *http.Response, body []byte) string {
	if to := res.Header.Get("Location"); to != "" && res.StatusCode/100 == 3 {
		return "redirected to " + to + ": use that address as the server"
	}
	if res.StatusCode == http.StatusOK {
		return fmt.Sprintf("the answer is %q and not a worker's", res.Header.Get("Content-Type"))
	}
	text := strings.TrimSpace(string(body))
	if len(text) > 200 || strings.HasPrefix(text, "<") {
		text = http.StatusText(res.StatusCode)
	}
	return text
}

// maxRetryAfter is the longest wait that a server can ask for.
const maxRetryAfter = time.Minute

// retryAfter reads the header's two forms, seconds and a date.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int(maxRetryAfter.Seconds()))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil && at.After(now) {
		return min(at.Sub(now), maxRetryAfter)
	}
	return 0
}
