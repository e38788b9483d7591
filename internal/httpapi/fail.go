package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// Codes that only answers have, never a stream.
const (
	codeNotFound         event.Code = "not_found"
	codeMethodNotAllowed event.Code = "method_not_allowed"
	codeForbidden        event.Code = "forbidden"
)

// How long a client should wait, in seconds. A worker that goes is replaced within a second or two.
const (
	retryBusy     = 5
	retryShutdown = 2
	retryStorage  = 5
)

// refusal is an answer that is an error: a status and a JSON object.
type refusal struct {
	Status      int        `json:"-"`
	Code        event.Code `json:"error"`
	Message     string     `json:"message"`
	Field       string     `json:"field,omitempty"`
	RetryAfter  int        `json:"retryAfter,omitempty"` // seconds
	Supported   []string   `json:"supportedProviders,omitempty"`
	Endpoints   []string   `json:"availableEndpoints,omitempty"`
	ContainerID string     `json:"containerId,omitempty"`
	RequestID   string     `json:"requestId,omitempty"`
}

// Error implements error.
func (r *refusal) Error() string {
	if r.Field != "" {
		return fmt.Sprintf("%s: %s: %s", r.Code, r.Field, r.Message)
	}
	return fmt.Sprintf("%s: %s", r.Code, r.Message)
}

// invalid refuses a request because of one of its fields.
func invalid(field, format string, args ...any) *refusal {
	return &refusal{Status: http.StatusBadRequest, Code: event.InvalidRequest, Field: field, Message: fmt.Sprintf(format, args...)}
}

var errMethod = &refusal{
	Status: http.StatusMethodNotAllowed, Code: codeMethodNotAllowed, Message: "this endpoint has other methods: see the Allow header",
}

func notFound(routes gin.RoutesInfo) *refusal {
	r := &refusal{Status: http.StatusNotFound, Code: codeNotFound, Message: "there is no such endpoint"}
	for _, route := range routes {
		r.Endpoints = append(r.Endpoints, route.Method+" "+route.Path)
	}
	slices.Sort(r.Endpoints)
	return r
}

// refusals is the one table from code to status; the message is for people. A code that is not here is a 500.
var refusals = map[event.Code]refusal{
	event.SessionNotFound: {Status: http.StatusNotFound, Message: "there is no such session"},
	event.SessionBusy:     {Status: http.StatusConflict, Message: "another job holds this session: wait for it or abort it", RetryAfter: retryBusy},
	event.Busy:            {Status: http.StatusTooManyRequests, Message: "this worker has a job already: try again, another worker may be free", RetryAfter: retryBusy},
	event.ShuttingDown:    {Status: http.StatusServiceUnavailable, Message: "this worker is going away: try again, another one takes the request", RetryAfter: retryShutdown},
	event.StorageError:    {Status: http.StatusServiceUnavailable, Message: "storage cannot be reached", RetryAfter: retryStorage},
	event.SessionCorrupt:  {Status: http.StatusInternalServerError, Message: "what is stored of this session cannot be read"},
	event.Aborted:         {Status: http.StatusConflict, Message: "the job was aborted before it began"},
	event.Timeout:         {Status: http.StatusGatewayTimeout, Message: "the job's time was up before it began"},
}

func refuse(code event.Code) *refusal {
	r, ok := refusals[code]
	if !ok {
		return &refusal{Status: http.StatusInternalServerError, Code: event.InternalError, Message: "something went wrong in the worker; its log has the details"}
	}
	r.Code = code
	return &r
}

// asRefusal finds the answer to an error. What is not meant for clients becomes a fixed text.
func asRefusal(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	if field, ok := errors.AsType[*providers.FieldError](err); ok {
		return invalid(field.Field, "%s", field.Reason)
	}
	if mismatch, ok := errors.AsType[*orchestrator.RepoMismatchError](err); ok {
		return invalid("github.repoUrl", "%s", mismatch.Error())
	}
	return refuse(orchestrator.CodeOf(err))
}

// fail is the one exit for errors. It answers as JSON; where the answer hides the reason, the log has it.
func (s *Server) fail(c *gin.Context, err error) {
	answer := *asRefusal(err)
	answer.ContainerID = s.cfg.ContainerID
	if answer.RetryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(answer.RetryAfter))
	}
	if answer.Code == event.Busy || answer.Code == event.ShuttingDown {
		// The next try on this connection would come to this worker again. And net/http reads a small body before it answers
		// on a connection that goes on.
		c.Header("Connection", "close")
	}
	if answer.Status >= http.StatusInternalServerError {
		answer.RequestID = c.GetString(requestID)
		level := zerolog.ErrorLevel
		if c.Request.Context().Err() != nil { // whoever asked has left, which ends the search for an answer
			level = zerolog.InfoLevel
		}
		s.logger(c).WithLevel(level).Err(err).Msg("request failed")
	}
	s.answer(c, answer.Status, answer)
	c.Abort()
}

// answer writes a JSON body, and gives the client a bounded time to take it.
func (s *Server) answer(c *gin.Context, status int, body any) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		panic(fmt.Errorf("encode an answer: %w", err))
	}
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(s.cfg.Timing.Write))
	c.Data(status, "application/json; charset=utf-8", buf.Bytes())
}
