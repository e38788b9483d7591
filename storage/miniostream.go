package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

var errStalled = fmt.Errorf("the stream has stalled: %w", ErrUnavailable)

// stall ends a request's context when nothing has moved for stallTimeout.
type stall struct {
	timer *time.Timer
	end   context.CancelCauseFunc
}

func newStall(ctx context.Context) (context.Context, *stall) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &stall{timer: time.AfterFunc(stallTimeout, func() { cancel(errStalled) }), end: cancel}
}

func (s *stall) pause()  { s.timer.Stop() }
func (s *stall) resume() { s.timer.Reset(stallTimeout) }

func (s *stall) stop() {
	s.timer.Stop()
	s.end(nil)
}

// stallingReader leaves the time that its reader takes, an archive being made, out of the account.
type stallingReader struct {
	r     io.Reader
	stall *stall
}

func (r *stallingReader) Read(p []byte) (int, error) {
	r.stall.pause()
	defer r.stall.resume()
	return r.r.Read(p)
}

// minioReader is an object's content; the time between reads is the caller's own.
type minioReader struct {
	ctx   context.Context
	body  io.ReadCloser
	stall *stall
	key   string
}

func (r *minioReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil { // what the socket holds already could still be read for a while
		return 0, minioError(r.ctx, "read "+r.key, r.ctx.Err())
	}
	r.stall.resume()
	n, err := r.body.Read(p)
	r.stall.pause()
	if err != nil && !errors.Is(err, io.EOF) {
		err = minioError(r.ctx, "read "+r.key, err)
	}
	return n, err
}

func (r *minioReader) Close() error {
	defer r.stall.stop()
	return r.body.Close()
}
