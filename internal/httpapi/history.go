package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// history answers with everything that is stored of a session's events, written as it is read: it may be larger than
// this worker's memory. Where reading fails in the middle the connection is cut.
func (s *Server) history(c *gin.Context, id string) {
	w := historyWriter{c: c, conn: http.NewResponseController(c.Writer), timeout: s.cfg.Timing.Write}
	err := s.cfg.Sessions.Events(c.Request.Context(), id, event.ID{}, func(line []byte) error {
		if err := w.begin(id); err != nil {
			return err
		}
		return w.event(line)
	})
	if err == nil {
		err = w.end(id)
	}
	if err == nil {
		return
	}
	if !c.Writer.Written() {
		s.fail(c, err)
		return
	}
	s.logger(c).Warn().Err(err).Msg("history cut")
	panic(http.ErrAbortHandler)
}

// historyWriter writes one JSON object piece by piece.
type historyWriter struct {
	c       *gin.Context
	conn    *http.ResponseController
	timeout time.Duration
	events  int
}

// begin writes what stands before the first event, once there is one.
func (w *historyWriter) begin(id string) error {
	if w.c.Writer.Written() {
		return nil
	}
	name, err := json.Marshal(id)
	if err != nil {
		return err
	}
	w.c.Header("Content-Type", "application/json; charset=utf-8")
	return w.write(`{"sessionId":%s,"events":[`, name)
}

func (w *historyWriter) event(line []byte) error {
	comma := ","
	if w.events == 0 {
		comma = ""
	}
	w.events++
	return w.write("%s\n%s", comma, line)
}

func (w *historyWriter) end(id string) error {
	if err := w.begin(id); err != nil {
		return err
	}
	return w.write("\n],\"eventCount\":%d}\n", w.events)
}

// write gives the client a bounded time for each piece.
func (w *historyWriter) write(format string, args ...any) error {
	_ = w.conn.SetWriteDeadline(time.Now().Add(w.timeout))
	_, err := fmt.Fprintf(w.c.Writer, format, args...)
	return err
}
