package client

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// watchdog calls bark once when nobody has petted it for the given time.
type watchdog struct {
	timer *time.Timer
	after time.Duration
}

func newWatchdog(after time.Duration, bark func()) *watchdog {
	return &watchdog{timer: time.AfterFunc(after, bark), after: after}
}

func (d *watchdog) pet()  { d.timer.Reset(d.after) }
func (d *watchdog) stop() { d.timer.Stop() }

// wait lets it be patient for once, until it is petted again.
func (d *watchdog) wait(once time.Duration) { d.timer.Reset(max(once, d.after)) }

// streamTransport turns the library's GET into the request that is meant, notes whether it was sent, and shows each byte
// that moves to the watchdog.
type streamTransport struct {
	base    http.RoundTripper
	prepare func(*http.Request)
	dog     *watchdog
	held    time.Duration // how long a job may go without the beginning of an answer
	sent    atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (t *streamTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	trace := &httptrace.ClientTrace{WroteHeaders: func() { t.sent.Store(true) }}
	req = req.Clone(httptrace.WithClientTrace(req.Context(), trace))
	req.Header.Del("Connection")
	t.prepare(req)
	if req.Method == http.MethodPost {
		trace.WroteRequest = func(httptrace.WroteRequestInfo) { t.dog.wait(t.held) }
	}
	if req.Body != nil {
		req.Body = &uploaded{ReadCloser: req.Body, dog: t.dog}
	}
	res, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	t.dog.pet()
	res.Body = &frames{ReadCloser: res.Body, dog: t.dog}
	return res, nil
}

// uploaded is a request's body.
type uploaded struct {
	io.ReadCloser
	dog *watchdog
}

func (u *uploaded) Read(p []byte) (int, error) {
	u.dog.pet()
	return u.ReadCloser.Read(p)
}

// frames is a stream's body. The library looks through all it has of an event after each read, which takes a time that
// grows with the square of the event's size. So a read returns only when an event has ended or p is full.
type frames struct {
	io.ReadCloser
	dog     *watchdog
	newline bool // the last byte was one
}

func (f *frames) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := f.ReadCloser.Read(p[n:])
		if m > 0 {
			f.dog.pet()
		}
		whole := f.ends(p[n : n+m])
		n += m
		if whole || err != nil {
			return n, err
		}
	}
	return n, nil
}

// ends reports whether an event may have ended within the chunk. Our workers end them with two newlines; what has
// carriage returns is passed on as it comes.
func (f *frames) ends(chunk []byte) bool {
	if len(chunk) == 0 {
		return false
	}
	whole := f.newline && chunk[0] == '\n' || bytes.Contains(chunk, []byte("\n\n")) || bytes.IndexByte(chunk, '\r') >= 0
	f.newline = chunk[len(chunk)-1] == '\n'
	return whole
}
