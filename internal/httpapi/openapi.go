package httpapi

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	root "github.com/ai-coding-worker/ai-coding-worker"
)

// openapi answers with the description of this API.
func (s *Server) openapi(c *gin.Context) {
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(s.cfg.Timing.Write))
	c.Data(http.StatusOK, "application/yaml", root.OpenAPI)
}
