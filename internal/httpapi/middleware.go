package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// Keys of a request's gin.Context.
const (
	requestID  = "requestID"
	jobSession = "jobSession" // the session of the job that the request is for, as far as it is known
)

// identify names the worker and the request in every answer. The ID is always our own: nothing that a client sent
// becomes a header or a log line unchecked.
func (s *Server) identify(c *gin.Context) {
	id := uuid.NewString()
	c.Set(requestID, id)
	c.Header("X-Container-ID", s.cfg.ContainerID)
	c.Header("X-Request-ID", id)
}

// logger is for lines about one request, and its job if it has one.
func (s *Server) logger(c *gin.Context) *zerolog.Logger {
	fields := s.cfg.Log.With().Str("request", c.GetString(requestID))
	if session := c.GetString(jobSession); session != "" {
		fields = fields.Str("session", session)
	}
	l := fields.Logger()
	return &l
}

// logRequests writes one line for each request: the route and not the path, and never a body.
func (s *Server) logRequests(c *gin.Context) {
	begun := time.Now()
	defer func() {
		s.logger(c).WithLevel(requestLevel(c)).Str("method", c.Request.Method).Str("route", c.FullPath()).
			Int("status", c.Writer.Status()).Dur("took", time.Since(begun)).Msg("request")
	}()
	c.Next()
}

// requestLevel keeps the questions that probes ask every few seconds out of the ordinary log.
func requestLevel(c *gin.Context) zerolog.Level {
	switch c.FullPath() {
	case "/health", "/ready", "/status":
		return zerolog.DebugLevel
	default:
		return zerolog.InfoLevel
	}
}

// recoverPanics answers a panic with a 500. Once the headers are out the connection is cut instead, so that a client
// cannot take the end for a regular one.
func (s *Server) recoverPanics(c *gin.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p)
		}
		s.logger(c).Error().Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("handler panicked")
		if c.Writer.Written() {
			panic(http.ErrAbortHandler)
		}
		s.fail(c, refuse(event.InternalError))
	}()
	c.Next()
}
