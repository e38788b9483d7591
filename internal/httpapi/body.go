package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// errClientGone ends a request whose body never came; nobody is there to be answered.
var errClientGone = &refusal{Status: http.StatusBadRequest, Code: event.InvalidRequest, Message: "the request's body was cut off"}

const (
	// smallBody is how much of a body is read whatever others take: a flood of large ones does not keep small ones out.
	smallBody = 64 << 10
	// largeBodies is how many of the largest bodies there may be in memory at a time, beyond their first smallBody.
	largeBodies = 4
)

// bodies bounds the memory that the bodies of all requests take together while they arrive and are decoded.
type bodies struct {
	room int64
	held atomic.Int64
}

// body is one that is being read. What it takes of the room is given back by release.
type body struct {
	io.Reader
	of          *bodies
	read, taken int64
}

// Read implements io.Reader. It takes room for what has really come: a sender that is slow, or lies, holds nothing else.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read += int64(n)
	if more := b.read - smallBody - b.taken; more > 0 {
		b.taken += more
		if b.of.held.Add(more) > b.of.room {
			return n, errManyBodies
		}
	}
	return n, err
}

func (b *body) release() { b.of.held.Add(-b.taken) }

// errManyBodies is a request that comes while others are as large as may be.
var errManyBodies = &refusal{
	Status: http.StatusTooManyRequests, Code: event.Busy, RetryAfter: retryBusy,
	Message: "this worker reads too many large requests at once: try again, another worker may be free",
}

// readJob reads a job out of the request's body, which is forgotten on return. Jobs are decoded one after the other, because
// a decoded body takes several times its size, and only while the worker is free.
func (s *Server) readJob(c *gin.Context) (orchestrator.Job, error) {
	b := &body{Reader: c.Request.Body, of: &s.bodies}
	defer b.release()
	data, err := s.readBody(c, b, s.cfg.MaxBody)
	if err != nil {
		return orchestrator.Job{}, err
	}
	s.decoding.Lock()
	defer s.decoding.Unlock()
	if err := s.occupied(); err != nil {
		return orchestrator.Job{}, err
	}
	return s.decodeJob(data)
}

// readBody reads a JSON body to its end, within the limits of size and time. At the end net/http lifts the time limit, and
// begins to watch for a client that goes away.
func (s *Server) readBody(c *gin.Context, from io.Reader, limit int64) ([]byte, error) {
	if err := checkContentType(c.Request.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Now().Add(s.cfg.Timing.Body))
	data, err := io.ReadAll(http.MaxBytesReader(c.Writer, io.NopCloser(from), limit))
	if err != nil {
		c.Header("Connection", "close") // else net/http waits for some of the rest before it answers
		return nil, s.bodyFailure(err)
	}
	return data, nil
}

// checkContentType wants JSON. A page of another origin cannot send that without being asked first.
func checkContentType(value string) error {
	mediaType, params, err := mime.ParseMediaType(value)
	charset := params["charset"]
	if err == nil && mediaType == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8")) {
		return nil
	}
	return &refusal{
		Status: http.StatusUnsupportedMediaType, Code: event.InvalidRequest, Field: "Content-Type",
		Message: `the body must be JSON: send it with "Content-Type: application/json"`,
	}
}

func (s *Server) bodyFailure(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		r := invalid("", "the body is larger than %d bytes", tooLarge.Limit)
		r.Status = http.StatusRequestEntityTooLarge
		return r
	}
	if errors.Is(err, errManyBodies) {
		return errManyBodies
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r := invalid("", "the body did not arrive within %s", s.cfg.Timing.Body)
		r.Status = http.StatusRequestTimeout
		return r
	}
	return errClientGone
}
