package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// What became of a wish to abort.
const (
	abortDone       = "aborting"    // the job is here, and ends with its work saved
	abortAsked      = "requested"   // the job is on another worker, which finds the wish in storage
	abortNotRunning = "not_running" // there is nothing to abort
)

// abort ends a session's job, or this worker's where no session is named.
func (s *Server) abort(c *gin.Context) {
	id, err := s.abortTarget(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	j := s.slot.Load()
	switch {
	case j != nil && !j.isOver() && (id == "" || id == j.session()):
		j.cancel(orchestrator.ErrAborted)
		s.answerAbort(c, http.StatusOK, abortDone, j.session())
	case id == "":
		s.answerAbort(c, http.StatusOK, abortNotRunning, "")
	default:
		s.abortElsewhere(c, id)
	}
}

func (s *Server) abortElsewhere(c *gin.Context, id string) {
	running, err := s.cfg.Sessions.RequestAbort(c.Request.Context(), id)
	switch {
	case err != nil:
		s.fail(c, err)
	case running:
		s.answerAbort(c, http.StatusAccepted, abortAsked, id)
	default:
		s.answerAbort(c, http.StatusOK, abortNotRunning, id)
	}
}

// abortTarget is the session that the body names; a request without a body names none.
func (s *Server) abortTarget(c *gin.Context) (string, error) {
	if c.Request.ContentLength == 0 {
		return "", nil
	}
	body, err := s.readBody(c, c.Request.Body, min(s.cfg.MaxBody, smallBody))
	if err != nil {
		return "", err
	}
	fields, err := parse(body)
	if err != nil {
		return "", err
	}
	r := request{object: newObject(fields)}
	id := r.id("sessionId")
	if unknown := r.unknown("sessionId"); id == "" && len(unknown) > 0 { // a session by another name would be whichever runs here
		r.keep(invalid(unknown[0], "unknown field: the session is named by sessionId"))
	}
	return id, r.err()
}

func (s *Server) answerAbort(c *gin.Context, status int, outcome, id string) {
	s.answer(c, status, struct {
		Status      string `json:"status"`
		SessionID   string `json:"sessionId,omitempty"`
		ContainerID string `json:"containerId"`
	}{outcome, id, s.cfg.ContainerID})
}
