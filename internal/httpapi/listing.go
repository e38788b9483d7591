package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// listing is an answer of one long list: {"sessionId":…, items:[…], count:…}.
type listing struct {
	id, items, count string
}

// list answers with what read emits, each a line of JSON, written as it is read: it may be larger than this worker's
// memory. Where reading fails in the middle the connection is cut.
func (s *Server) list(c *gin.Context, l listing, read func(emit func(line []byte) error) error) {
	w := listWriter{listing: l, c: c, conn: http.NewResponseController(c.Writer), timeout: s.cfg.Timing.Write}
	err := read(w.line)
	if err == nil {
		err = w.end()
	}
	if err == nil {
		return
	}
	if !c.Writer.Written() {
		s.fail(c, err)
		return
	}
	s.logger(c).Warn().Err(err).Msg(l.items + " cut")
	panic(http.ErrAbortHandler)
}

// listWriter writes one JSON object piece by piece.
type listWriter struct {
	listing
	c       *gin.Context
	conn    *http.ResponseController
	timeout time.Duration
	lines   int
}

// begin writes what stands before the first line, once there is one.
func (w *listWriter) begin() error {
	if w.c.Writer.Written() {
		return nil
	}
	id, err := json.Marshal(w.id)
	if err != nil {
		return err
	}
	w.c.Header("Content-Type", "application/json; charset=utf-8")
	return w.write(`{"sessionId":%s,%q:[`, id, w.items)
}

func (w *listWriter) line(line []byte) error {
	if err := w.begin(); err != nil {
		return err
	}
	comma := ","
	if w.lines == 0 {
		comma = ""
	}
	w.lines++
	return w.write("%s\n%s", comma, line)
}

func (w *listWriter) end() error {
	if err := w.begin(); err != nil {
		return err
	}
	return w.write("\n],%q:%d}\n", w.count, w.lines)
}

// write gives the client a bounded time for each piece.
func (w *listWriter) write(format string, args ...any) error {
	_ = w.conn.SetWriteDeadline(time.Now().Add(w.timeout))
	_, err := fmt.Fprintf(w.c.Writer, format, args...)
	return err
}
