package client

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"
)

// maxFrame bounds one event. A line of the agent has up to 16 MiB, and JSON may write six bytes for one.
const maxFrame = 100 << 20

var (
	errSilent = errors.New("the connection is silent")
	errClosed = errors.New("the stream ended before the job")
)

// opened is what became of one connection.
type opened struct {
	stream bool // it was answered with a stream
	sent   bool // the worker may have seen the request
	err    error
}

// stream makes one connection and calls take for each of its events, from the calling goroutine, until take returns an
// error, the stream ends (err is nil), or something goes wrong. No goroutine outlives the call.
//
// The r3labs client reconnects by itself, ignores its context between reads and cannot be stopped by its handler. So it
// gets one connection and no more (its back-off says stop at once), and is ended by the end of the connection's own context,
// which makes the read fail that its loop waits for.
func (c *Client) stream(ctx context.Context, prepare func(*http.Request), take func(Event) error) (out opened) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dog := newWatchdog(c.cfg.Silence, func() { cancel(errSilent) })
	defer dog.stop()

	via := &streamTransport{base: c.cfg.Transport, prepare: prepare, dog: dog, held: c.cfg.HeldWait}
	lib := sse.NewClient(c.base.String(), sse.ClientMaxBufferSize(maxFrame))
	lib.Connection = &http.Client{Transport: via, CheckRedirect: refuseRedirect}
	lib.ReconnectStrategy = &backoff.StopBackOff{}
	lib.ResponseValidator = func(_ *sse.Client, res *http.Response) error {
		if !isStream(res) {
			return readError(res, c.cfg.Now())
		}
		out.stream = true
		return nil
	}
	err := lib.SubscribeRawWithContext(ctx, func(msg *sse.Event) {
		if ctx.Err() != nil || len(msg.Data) == 0 { // the rest of what was read already; a heartbeat
			return
		}
		e, err := decodeEvent(string(msg.ID), msg.Data)
		if err == nil {
			err = take(e)
		}
		if err != nil {
			cancel(err)
		}
	})
	if network := new(url.Error); errors.As(err, &network) {
		err = network.Err // its URL is the library's and not the request's
	}
	if cause := ended(ctx); cause != nil {
		err = cause
	}
	out.err, out.sent = err, via.sent.Load()
	return out
}

func isStream(res *http.Response) bool {
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return err == nil && kind == "text/event-stream" && res.StatusCode == http.StatusOK
}
