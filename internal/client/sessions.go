package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// Session is a session's metadata.
type Session struct {
	SessionID   string       `json:"sessionId"`
	SessionName string       `json:"sessionName"`
	Provider    string       `json:"provider"`
	Storage     string       `json:"storage"`
	Status      string       `json:"status"`
	Attempt     int          `json:"attempt"`
	CreatedAt   time.Time    `json:"createdAt"`
	UpdatedAt   time.Time    `json:"updatedAt"`
	GitHub      *SessionRepo `json:"github"`
	Usage       *event.Usage `json:"usage"`
	EventCount  int          `json:"eventCount"` // 0 in a list

	Raw json.RawMessage `json:"-"` // everything, as it was sent
}

// SessionRepo is what a session knows of its repository.
type SessionRepo struct {
	RepoURL    string `json:"repoUrl"`
	BaseBranch string `json:"baseBranch"`
	Branch     string `json:"branch"`
	Head       string `json:"head"`   // the session's latest commit
	Pushed     string `json:"pushed"` // the last one seen on the remote
}

// UnmarshalJSON keeps the raw form, too.
func (s *Session) UnmarshalJSON(data []byte) error {
	type fields Session
	if err := json.Unmarshal(data, (*fields)(s)); err != nil {
		return err
	}
	s.Raw = bytes.Clone(data)
	return nil
}

// Status is what one worker does.
type Status struct {
	Status      string    `json:"status"` // idle, busy or draining
	SessionID   string    `json:"sessionId"`
	StartedAt   time.Time `json:"startedAt"`
	RetryAfter  float64   `json:"retryAfter"` // seconds
	ContainerID string    `json:"containerId"`
}

// Sessions returns a page of the stored sessions and the cursor of the next page, which is empty on the last. limit 0 is
// the worker's default.
func (c *Client) Sessions(ctx context.Context, cursor string, limit int) (page []Session, next string, err error) {
	query := url.Values{}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	var answer struct {
		Sessions   []Session `json:"sessions"`
		NextCursor string    `json:"nextCursor"`
	}
	if err := c.get(ctx, c.url(query, "sessions"), &answer, http.StatusOK); err != nil {
		return nil, "", err
	}
	return answer.Sessions, answer.NextCursor, nil
}

// Session returns one session; an unknown one is an *APIError.
func (c *Client) Session(ctx context.Context, id string) (Session, error) {
	if err := checkID(id); err != nil {
		return Session{}, err
	}
	var s Session
	err := c.get(ctx, c.url(nil, "sessions", id), &s, http.StatusOK)
	return s, err
}

// Outcome is what became of a wish to abort.
type Outcome string

// The outcomes of Abort.
const (
	Aborting       Outcome = "aborting"    // the job ends now, its work is saved
	AbortRequested Outcome = "requested"   // the job is on another worker, which obeys soon
	NotRunning     Outcome = "not_running" // there is no job to abort
)

// Abort asks for the end of the session's job, or of the worker's own if id is empty. An unknown session is an *APIError.
func (c *Client) Abort(ctx context.Context, id string) (Outcome, error) {
	body := []byte("{}")
	if id != "" {
		if err := checkID(id); err != nil {
			return "", err
		}
		body = []byte(`{"sessionId":"` + id + `"}`)
	}
	var answer struct {
		Status Outcome `json:"status"`
	}
	err := c.call(ctx, http.MethodPost, c.url(nil, "abort"), body, &answer, http.StatusOK, http.StatusAccepted)
	return answer.Status, err
}

// Delete removes what is stored of a session. One that does not exist is no error; one that a job holds is an *APIError.
func (c *Client) Delete(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	var answer struct{}
	return c.call(ctx, http.MethodDelete, c.url(nil, "sessions", id), nil, &answer, http.StatusOK)
}

// Status asks one worker what it does. Being busy or about to stop is no error.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.get(ctx, c.url(nil, "status"), &s, http.StatusOK, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	if err == nil && s.Status == "" {
		return Status{}, unavailable(fmt.Errorf("the answer to /status is not a worker's"))
	}
	return s, err
}

// callTimeout bounds a call that is not a stream, and maxAnswer what it may bring.
const (
	callTimeout = 30 * time.Second
	maxAnswer   = 64 << 20
)

// get is call for what can be asked again: it waits for a worker as Execute does.
func (c *Client) get(ctx context.Context, target string, v any, want ...int) error {
	patience := newPatience(c.cfg.BusyWait, busyMin, busyMax)
	for {
		err := c.call(ctx, http.MethodGet, target, nil, v, want...)
		if !errors.Is(err, ErrUnavailable) {
			return err
		}
		if ok, waitErr := c.pause(ctx, patience, Retry{Err: err}); waitErr != nil {
			return waitErr
		} else if !ok {
			return err
		}
	}
}

// call makes one request and decodes the answer into v, if its status is one of those wanted; else the error is an *APIError.
func (c *Client) call(ctx context.Context, method, target string, body []byte, v any, want ...int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errSilent)
	defer cancel()
	res, err := c.send(ctx, method, target, body, want...)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return callFailed(ctx, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read the answer of %s: %w", target, err)
	}
	return nil
}

// send makes one request for JSON. The caller closes the answer's body, whose status is one of those wanted.
func (c *Client) send(ctx context.Context, method, target string, body []byte, want ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, callFailed(ctx, err)
	}
	if !slices.Contains(want, res.StatusCode) {
		return nil, readError(res, c.cfg.Now())
	}
	return res, nil
}

// callFailed tells the end of the caller's context from a server that is away.
func callFailed(ctx context.Context, err error) error {
	if cause := ended(ctx); cause != nil && !errors.Is(cause, errSilent) {
		return cause
	}
	return unavailable(err)
}
