package httpapi

import (
	"cmp"
	"errors"

	"github.com/gin-gonic/gin"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// errNoStart is a Runner that returned before its job began, and said nothing.
var errNoStart = errors.New("the job ended before it began")

// execute takes a job and streams it. A busy worker says so without reading the body; a bad request never costs the
// slot; and until the job has begun every failure is answered with a status of its own.
func (s *Server) execute(c *gin.Context) {
	if err := s.occupied(); err != nil {
		s.fail(c, err)
		return
	}
	spec, err := s.readJob(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	spec.RequestID = c.GetString(requestID)
	c.Set(jobSession, spec.SessionID)
	j, err := s.start(c.Request.Context(), spec)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.follow(c, j)
}

// occupied is why this worker takes no job now.
func (s *Server) occupied() error {
	switch {
	case s.leaving():
		return refuse(event.ShuttingDown)
	case s.slot.Load() != nil:
		return refuse(event.Busy)
	default:
		return nil
	}
}

// follow answers the request that began a job: by its log like any other reader, or by why it could not start.
func (s *Server) follow(c *gin.Context, j *job) {
	select {
	case <-j.ready:
	case <-j.over:
	}
	b := j.begun.Load()
	if b == nil {
		s.fail(c, cmp.Or(j.err, errNoStart))
		return
	}
	defer b.tail.Close()
	c.Set(jobSession, b.SessionID)
	s.stream(c, tailing(b.tail))
}
