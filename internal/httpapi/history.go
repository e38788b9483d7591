package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// history answers with everything that is stored of a session's events.
func (s *Server) history(c *gin.Context, id string) {
	s.list(c, listing{id: id, items: "events", count: "eventCount"}, func(emit func([]byte) error) error {
		return s.cfg.Sessions.Events(c.Request.Context(), id, event.ID{}, emit)
	})
}
