package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// errEnd is what reader.take returns at the event that ends the reading.
var errEnd = errors.New("the job has ended")

// callerError is an error of the caller's own onEvent.
type callerError struct{ error }

// reader collects one job's events over any number of connections: each is passed on once, in order, up to the terminal one.
type reader struct {
	session string
	last    string // ID of the last event passed on
	onEvent func(Event) error
	history bool  // the whole session is read: only the latest job's terminal event is the end
	end     Event // the terminal event, once it was seen
	posted  bool  // a job was posted to the session, and perhaps taken
	found   bool  // a worker has answered with the session's stream
}

// take passes an event on unless it was already.
func (r *reader) take(e Event) error {
	if notAfter(e.ID, r.last) {
		return nil
	}
	if e.ID != "" {
		r.last = e.ID
	}
	r.end = Event{}
	if err := r.onEvent(e); err != nil {
		return callerError{err}
	}
	if !e.Terminal() {
		return nil
	}
	r.end = e
	if r.history {
		return nil
	}
	return errEnd
}

// result says whether a connection was the last one: the terminal event has come, or the caller or its context wants no more.
func (r *reader) result(ctx context.Context, out opened) (done bool, err error) {
	var own callerError
	switch {
	case errors.As(out.err, &own):
		return true, own.error
	case errors.Is(out.err, errEnd):
		return true, nil
	case r.end.Terminal() && out.err == nil: // a clean end right after a terminal event: of the latest job
		return true, nil
	}
	if cause := ended(ctx); cause != nil {
		return true, cause
	}
	return false, nil
}

// follow reads the session's stream from where r is until the terminal event, over as many connections as it takes.
// cause is why the connection before was lost; nil: there was none.
func (c *Client) follow(ctx context.Context, r *reader, cause error) (Event, error) {
	patience := newPatience(c.cfg.LostWait, reconnectMin, reconnectMax)
	over := false // the session's latest job was, before the last connection
	for {
		if cause != nil {
			if ok, err := c.pause(ctx, patience, Retry{Err: cause, Reconnect: r.posted || r.found}); err != nil {
				return Event{}, err
			} else if !ok {
				return Event{}, r.lost(cause)
			}
		}
		last, began := r.last, c.cfg.Now()
		out := c.stream(ctx, c.prepareStream(r), r.take)
		r.found = r.found || out.stream
		if done, err := r.result(ctx, out); done {
			return r.end, err
		}
		if r.hopeless(out.err) {
			return Event{}, r.refused(out.err)
		}
		if r.last != last || c.lived(began, out) {
			patience.reset()
		} else if !r.posted && out.stream && out.err == nil { // a stream that was cut, or one in which there is nothing
			if over {
				return Event{}, r.nothing()
			}
			over = c.over(ctx, r.session)
		}
		if cause = out.err; cause == nil {
			cause = errClosed
		}
	}
}

// over reports whether the session's latest job has ended, as far as can be told.
func (c *Client) over(ctx context.Context, id string) bool {
	var s Session
	err := c.call(ctx, http.MethodGet, c.url(nil, "sessions", id), nil, &s, http.StatusOK)
	return err == nil && s.Status != "running"
}

// nothing is the error of a stream that is whole and has no terminal event.
func (r *reader) nothing() error {
	if r.last == "" {
		return fmt.Errorf("session %s: its latest job has ended before its first event", r.session)
	}
	return fmt.Errorf("%w: no event of session %s comes after %s, and its latest job has ended", ErrUsage, r.session, r.last)
}

// lived reports whether a connection was good for something though it brought no event: an agent may think for minutes.
func (c *Client) lived(began time.Time, out opened) bool {
	return out.stream && !errors.Is(out.err, errSilent) && c.cfg.Now().Sub(began) >= c.cfg.Silence/3
}

// prepareStream is the request for what comes after the last event, or for the latest job where there was none.
func (c *Client) prepareStream(r *reader) func(*http.Request) {
	query := url.Values{}
	if r.last == "" && !r.history {
		query.Set("job", "latest")
	}
	target, err := url.Parse(c.url(query, "sessions", r.session, "stream"))
	return func(req *http.Request) {
		if err == nil {
			req.URL = target
		}
		if r.last != "" {
			req.Header.Set("Last-Event-ID", r.last)
		}
	}
}

// hopeless reports an answer that will be the same next time. A session that was only just asked for may be missing for a moment.
func (r *reader) hopeless(err error) bool {
	var answer *APIError
	if !errors.As(err, &answer) || answer.passing() {
		return false
	}
	return answer.Status != http.StatusNotFound || r.found || !r.posted
}

// refused is the error of a stream that will not be had.
func (r *reader) refused(cause error) error {
	if r.posted || r.found {
		return &LostError{SessionID: r.session, LastEventID: r.last, Err: cause}
	}
	return cause
}

// lost is the error of a stream that was waited for long enough.
func (r *reader) lost(cause error) error {
	if r.posted || r.found {
		return r.refused(cause)
	}
	return unavailable(cause)
}

func unavailable(cause error) error {
	if errors.Is(cause, ErrUnavailable) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, cause)
}
