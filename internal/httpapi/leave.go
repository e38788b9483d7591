package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// askToLeave makes an idle worker exit, and a busy one when its job is done: it takes no other. Asked again, nothing changes.
func (s *Server) askToLeave(c *gin.Context) {
	s.draining.Store(true)
	s.leaveNow.Do(func() { close(s.leave) })
	body := struct {
		Status      string `json:"status"`
		SessionID   string `json:"sessionId,omitempty"`
		ContainerID string `json:"containerId"`
	}{Status: stateDraining, ContainerID: s.cfg.ContainerID}
	if j := s.slot.Load(); j != nil {
		body.SessionID = j.session()
	}
	s.answer(c, http.StatusAccepted, body)
}
