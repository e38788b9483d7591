package database

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// longestWish bounds what a Retry-After can ask for.
const longestWish = time.Minute

// awayError is a database that cannot be reached. Its text has no address: it is for the job's client.
type awayError struct{ err error }

func (*awayError) Error() string   { return "it cannot be reached" }
func (e *awayError) Unwrap() error { return e.err }

// reason is what the worker's own log has of a failure: why the database is away, too, but no URL.
func reason(err error) error {
	if network, ok := errors.AsType[*url.Error](err); ok {
		return network.Err
	}
	return err
}

// statusError is an answer that is no success.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("it answered %d %s", e.code, http.StatusText(e.code))
}

// passing reports whether the same request may succeed later.
func (e *statusError) passing() bool {
	switch e.code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	default:
		return e.code >= http.StatusInternalServerError
	}
}

// send makes a request until it succeeds, is refused, or ctx ends.
func (d *delivery) send(ctx context.Context, method string, to *url.URL, body []byte) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = d.client.time.Pause, d.client.time.Longest
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		retryAfter, err := d.try(ctx, method, to, body)
		if ctx.Err() == nil {
			_ = d.note(err)
		}
		return struct{}{}, advice(err, retryAfter)
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
	return err
}

// advice tells the retry whether to go on, and when.
func advice(err error, retryAfter time.Duration) error {
	if status, ok := errors.AsType[*statusError](err); ok && !status.passing() {
		return backoff.Permanent(err)
	}
	if err != nil && retryAfter > 0 {
		return &backoff.RetryAfterError{Duration: min(retryAfter, longestWish)}
	}
	return err
}

// try makes one request. retryAfter is what the answer asks for; 0: nothing.
func (d *delivery) try(ctx context.Context, method string, to *url.URL, body []byte) (retryAfter time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.client.time.Try)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+d.token.Reveal())
	req.Header.Set("Content-Type", "application/json")
	res, err := d.client.http.Do(req)
	if err != nil {
		return 0, &awayError{err}
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	if res.StatusCode >= 200 && res.StatusCode <= 299 {
		return 0, nil
	}
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	return time.Duration(seconds) * time.Second, &statusError{res.StatusCode}
}
