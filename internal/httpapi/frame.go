package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// frameWriter collects what is written up to a Flush, and sends it in one piece: clients that look at each read of their
// own for whole frames exist. Frames that are on their way already go together: a system call costs more than all else of a
// small frame. Each piece has a deadline of its own; the first that fails ends the stream.
type frameWriter struct {
	gin.ResponseWriter
	wire    http.ResponseWriter // below gin, which hides the errors of a flush
	request context.Context     // knows the connection
	timeout time.Duration
	queue   queue
	failed  context.CancelCauseFunc
	frame   []byte
	err     error
}

// queue is where the frames come from.
type queue interface {
	// more reports whether another frame is sure to come behind the one that is being sent.
	more() bool
	// sent is called after each frame, good or not.
	sent()
}

func newFrameWriter(c *gin.Context, timeout time.Duration, from queue, failed context.CancelCauseFunc) *frameWriter {
	w := &frameWriter{
		ResponseWriter: c.Writer, wire: c.Writer, request: c.Request.Context(), timeout: timeout, queue: from, failed: failed,
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

// Flush sends the frame that was written, or leaves it to the next one's Flush; the first Flush sends the header alone.
func (w *frameWriter) Flush() {
	if !w.Written() {
		w.WriteHeaderNow()
		w.send(nil)
		return
	}
	if len(w.frame) >= together || !w.queue.more() {
		w.send(w.frame)
		w.frame = w.frame[:0]
		if cap(w.frame) > keptFrame {
			w.frame = nil
		}
	}
	w.queue.sent()
}

// together is how many bytes of small frames go in one piece, about.
const together = 16 << 10

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
