package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// errClientGone ends a request whose body never came; nobody is there to be answered.
var errClientGone = &refusal{Status: http.StatusBadRequest, Code: event.InvalidRequest, Message: "the request's body was cut off"}

// readBody reads a JSON body to its end, within the limits of size and time. At the end net/http lifts the time limit, and
// begins to watch for a client that goes away.
func (s *Server) readBody(c *gin.Context) ([]byte, error) {
	if err := checkContentType(c.Request.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Now().Add(s.cfg.Timing.Body))
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, s.cfg.MaxBody))
	if err != nil {
		return nil, s.bodyFailure(err)
	}
	return body, nil
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
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r := invalid("", "the body did not arrive within %s", s.cfg.Timing.Body)
		r.Status = http.StatusRequestTimeout
		return r
	}
	return errClientGone
}
