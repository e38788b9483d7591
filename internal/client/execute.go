package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
)

// Execute posts a job, calls onEvent for each of its events, in order and once, from the calling goroutine, and returns
// the terminal one. A job that failed is no error here: its terminal event says so.
//
// A request that no worker has taken (429, 503, no connection) is posted again for as long as Config.BusyWait allows; then the error
// is ErrUnavailable. Once a worker may have taken it, it is only followed: a stream that cannot be had again is a *LostError.
// A request that was refused is an *APIError. An error from onEvent ends the reading, not the job, and is returned; so does
// the end of ctx, whose cause is returned.
func (c *Client) Execute(ctx context.Context, req Request, onEvent func(Event) error) (Event, error) {
	// With an ID of our own choice a stream can be found again even if not one byte of the answer arrived.
	own := req.SessionID == ""
	if own {
		req.SessionID, req.MustExist = c.cfg.NewID(), false
	}
	body, err := req.encode()
	if err != nil {
		return Event{}, err
	}
	r := &reader{session: req.SessionID, onEvent: onEvent}
	out, err := c.post(ctx, body, r)
	if err != nil {
		return Event{}, err
	}
	if done, err := r.result(ctx, out); done {
		return r.end, err
	}
	cause := out.err
	if cause == nil {
		cause = errClosed
	}
	r.posted, r.found = true, out.stream
	if !own && !out.stream {
		// The session's latest job may be an older one: nothing tells the two apart.
		return Event{}, r.lost(cause)
	}
	return c.follow(ctx, r, cause)
}

// post sends the request until a worker has taken it, or may have. An error means that none has.
func (c *Client) post(ctx context.Context, body []byte, r *reader) (opened, error) {
	busy := newPatience(c.cfg.BusyWait, busyMin, busyMax)
	for {
		out := c.stream(ctx, c.preparePost(body), r.take)
		if out.stream || ended(ctx) != nil {
			return out, nil
		}
		switch judge(out) {
		case uncertain:
			return out, nil
		case refused:
			return out, out.err
		case again:
		}
		out.err = unavailable(out.err)
		if ok, err := c.pause(ctx, busy, Retry{Err: out.err}); err != nil {
			return out, err
		} else if !ok {
			return out, out.err
		}
	}
}

// verdict is what a POST without a stream means for the next one.
type verdict int

const (
	refused   verdict = iota // it would be refused again
	again                    // it had no effect and may be taken later
	uncertain                // it may have been taken
)

func judge(out opened) verdict {
	var answer *APIError
	var network *net.OpError
	switch {
	case errors.As(out.err, &answer) && answer.retryable():
		return again
	case errors.As(out.err, &answer) && answer.uncertain():
		return uncertain
	case answer != nil:
		return refused
	case out.sent:
		return uncertain
	case errors.As(out.err, &network) || errors.Is(out.err, errSilent):
		return again
	default: // a certificate that is not trusted, a proxy that is none
		return refused
	}
}

// bigBody is the size from which a worker is asked first whether it wants the body at all: a busy one does not.
const bigBody = 256 << 10

func (c *Client) preparePost(body []byte) func(*http.Request) {
	target, err := url.Parse(c.url(nil, "execute"))
	return func(req *http.Request) {
		if err == nil {
			req.URL = target
		}
		req.Method = http.MethodPost
		req.Header.Set("Content-Type", "application/json")
		if len(body) > bigBody {
			req.Header.Set("Expect", "100-continue")
		}
		req.ContentLength = int64(len(body))
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
}
