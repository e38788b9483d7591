package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// frameWriter collects what is written up to a Flush, and sends it in one piece: clients that look at each read of their
// own for whole frames exist. Each frame has a deadline of its own; the first that fails ends the stream.
type frameWriter struct {
	gin.ResponseWriter
	wire    http.ResponseWriter // below gin, which hides the errors of a flush
	request context.Context     // knows the connection
	timeout time.Duration
	sent    func() // after each frame, good or not
	failed  context.CancelCauseFunc
	frame   []byte
	err     error
}

func newFrameWriter(c *gin.Context, timeout time.Duration, sent func(), failed context.CancelCauseFunc) *frameWriter {
	w := &frameWriter{
		ResponseWriter: c.Writer, wire: c.Writer, request: c.Request.Context(), timeout: timeout, sent: sent, failed: failed,
	}
	if u, ok := c.Writer.(interface{ Unwrap() http.ResponseWriter }); ok {
		w.wire = u.Unwrap()
	}
	return w
}

// Write keeps p for the next Flush.
func (w *frameWriter) Write(p []byte) (int, error) {
	if w.err == nil {
		w.frame = append(w.frame, p...)
	}
	return len(p), w.err
}

// Flush sends the frame that was written; the first one sends the header alone.
func (w *frameWriter) Flush() {
	if !w.Written() {
		w.WriteHeaderNow()
		w.send(nil)
		return
	}
	w.send(w.frame)
	w.frame = w.frame[:0]
	if cap(w.frame) > keptFrame {
		w.frame = nil
	}
	w.sent()
}

// keptFrame is how large a buffer is kept for the next frame.
const keptFrame = 64 << 10

func (w *frameWriter) send(frame []byte) {
	if w.err != nil {
		return
	}
	if w.err = w.write(frame); w.err != nil {
		w.failed(w.err)
	}
}

func (w *frameWriter) write(frame []byte) error {
	conn := http.NewResponseController(w.wire)
	if err := conn.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return err
	}
	if len(frame) == 0 {
		return conn.Flush()
	}
	return inOnePiece(w.request, func() error {
		if _, err := w.wire.Write(frame); err != nil {
			return err
		}
		return conn.Flush()
	})
}
