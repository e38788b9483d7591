package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// The states of a worker.
const (
	stateIdle     = "idle"
	stateBusy     = "busy"
	stateDraining = "draining"
)

// States are the states that a worker can be in.
func States() []string { return []string{stateIdle, stateBusy, stateDraining} }

// pingTimeout bounds a question to storage: who asks whether a worker is ready does not wait long.
const pingTimeout = 2 * time.Second

// Idle tells whether the worker waits for its job.
func (s *Server) Idle() bool { return s.State() == stateIdle }

// State is the state of the worker, one of States.
func (s *Server) State() string {
	switch {
	case s.leaving():
		return stateDraining
	case s.slot.Load() != nil:
		return stateBusy
	default:
		return stateIdle
	}
}

// leaving reports whether this worker will never take a job again: it was told to stop, or its one job has ended.
func (s *Server) leaving() bool {
	if s.draining.Load() {
		return true
	}
	select {
	case <-s.jobEnded:
		return true
	default:
		return false
	}
}

// health tells that the process lives, whatever else is away.
func (s *Server) health(c *gin.Context) {
	s.answer(c, http.StatusOK, struct {
		Status       string  `json:"status"`
		WorkerStatus string  `json:"workerStatus"`
		ContainerID  string  `json:"containerId"`
		Version      string  `json:"version"`
		Sandbox      Sandbox `json:"sandbox"`
		Timestamp    string  `json:"timestamp"`
	}{"ok", s.State(), s.cfg.ContainerID, s.cfg.Version, s.cfg.Sandbox, timestamp(s.cfg.Now())})
}

// ready tells whether a job could be stored.
func (s *Server) ready(c *gin.Context) {
	if s.leaving() {
		s.notReady(c, refuse(event.ShuttingDown))
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), pingTimeout)
	defer cancel()
	if err := s.cfg.Sessions.Ping(ctx); err != nil {
		r := refuse(event.StorageError)
		r.Message += ": " + err.Error()
		s.notReady(c, r)
		return
	}
	s.answerBriefly(c, http.StatusOK, "ready", struct {
		Status      string `json:"status"`
		ContainerID string `json:"containerId"`
	}{"ready", s.cfg.ContainerID})
}

// notReady gives the reason to those who have a key.
func (s *Server) notReady(c *gin.Context, r *refusal) {
	if s.trusted(c.Request) {
		s.fail(c, r)
		return
	}
	s.answerBriefly(c, r.Status, "not ready", nil)
}

// status tells by its code whether the worker takes a job: 200, 429 while it has one, 503 when it is going.
func (s *Server) status(c *gin.Context) {
	body := struct {
		Status      string `json:"status"`
		SessionID   string `json:"sessionId,omitempty"`
		StartedAt   string `json:"startedAt,omitempty"`
		ContainerID string `json:"containerId"`
		RetryAfter  int    `json:"retryAfter,omitempty"`
	}{Status: s.State(), ContainerID: s.cfg.ContainerID}
	if j := s.slot.Load(); j != nil {
		body.SessionID, body.StartedAt = j.session(), timestamp(j.startedAt)
	}
	code := http.StatusOK
	switch body.Status {
	case stateBusy:
		code, body.RetryAfter = http.StatusTooManyRequests, retryBusy
	case stateDraining:
		code, body.RetryAfter = http.StatusServiceUnavailable, retryShutdown
	}
	if body.RetryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(body.RetryAfter))
	}
	s.answerBriefly(c, code, body.Status, body)
}

func timestamp(t time.Time) string { return t.UTC().Format(event.TimeFormat) }
