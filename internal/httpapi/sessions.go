package httpapi

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

// session is a session as clients see it: its metadata, flat, without what only the workers need of it.
type session struct {
	storage.Metadata
	Nonce         *struct{} `json:"nonce,omitempty"`
	TakenFrom     *struct{} `json:"takenFrom,omitempty"`
	ClosedThrough *struct{} `json:"closedThrough,omitempty"`
	Storage       string    `json:"storage,omitempty"`
	EventCount    *int      `json:"eventCount,omitempty"`
}

func (s *Server) listSessions(c *gin.Context) {
	limit, err := pageSize(c.Query("limit"))
	if err != nil {
		s.fail(c, err)
		return
	}
	stored, next, err := s.cfg.Sessions.List(c.Request.Context(), c.Query("cursor"), limit)
	if err != nil {
		s.fail(c, err)
		return
	}
	sessions := make([]session, 0, len(stored))
	for _, m := range stored {
		sessions = append(sessions, session{Metadata: m, Storage: s.cfg.Storage})
	}
	s.answer(c, http.StatusOK, struct {
		Count       int       `json:"count"`
		Sessions    []session `json:"sessions"`
		NextCursor  string    `json:"nextCursor,omitempty"`
		ContainerID string    `json:"containerId"`
	}{len(sessions), sessions, next, s.cfg.ContainerID})
}

// pageSize is at most maxPage whatever was asked for.
func pageSize(limit string) (int, error) {
	if limit == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(limit)
	if err != nil || n < 1 {
		return 0, invalid("limit", "must be a whole number, 1 or more")
	}
	return min(n, maxPage), nil
}

func (s *Server) showSession(c *gin.Context) {
	id, m, err := s.metadata(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	count := 0
	err = s.cfg.Sessions.Events(c.Request.Context(), id, event.ID{}, func([]byte) error { count++; return nil })
	if err != nil {
		s.fail(c, err)
		return
	}
	s.answer(c, http.StatusOK, session{Metadata: m, Storage: s.cfg.Storage, EventCount: &count})
}

// deleteSession removes what is stored of a session; one that does not exist is as good as deleted.
func (s *Server) deleteSession(c *gin.Context) {
	id := c.Param("id")
	if err := checkSessionID(id); err != nil {
		s.fail(c, invalid("sessionId", "%v", err))
		return
	}
	if err := s.cfg.Sessions.Delete(c.Request.Context(), id); err != nil {
		s.fail(c, err)
		return
	}
	s.answer(c, http.StatusOK, struct {
		SessionID   string `json:"sessionId"`
		Deleted     bool   `json:"deleted"`
		ContainerID string `json:"containerId"`
	}{id, true, s.cfg.ContainerID})
}

// metadata finds the session that the path names.
func (s *Server) metadata(c *gin.Context) (string, storage.Metadata, error) {
	id := c.Param("id")
	if err := checkSessionID(id); err != nil {
		return "", storage.Metadata{}, invalid("sessionId", "%v", err)
	}
	m, err := s.cfg.Sessions.Metadata(c.Request.Context(), id)
	return id, m, err
}

// streamSession is a session's history as JSON, or its events as a stream to those who accept one.
func (s *Server) streamSession(c *gin.Context) {
	after, err := event.ParseID(c.GetHeader("Last-Event-ID"))
	if err != nil {
		s.fail(c, invalid("Last-Event-ID", "is not the ID of an event: %v", err))
		return
	}
	job := c.Query("job")
	if job != "" && job != "latest" {
		s.fail(c, invalid("job", `must be "latest", or be left out for all jobs`))
		return
	}
	id, attempt, err := s.latestAttempt(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	if !accepts(c.Request.Header, "text/event-stream") {
		s.history(c, id)
		return
	}
	if latest := (event.ID{Attempt: attempt}); job == "latest" && after.Before(latest) {
		after = latest
	}
	s.stream(c, s.sessionSource(id, after))
}

// latestAttempt finds the session that the path names; one that runs here needs no storage to be found.
func (s *Server) latestAttempt(c *gin.Context) (string, int, error) {
	if b := s.running(); b != nil && b.SessionID == c.Param("id") {
		return b.SessionID, b.Attempt, nil
	}
	id, m, err := s.metadata(c)
	return id, m.Attempt, err
}

// accepts reports whether the Accept header names a media type.
func accepts(h http.Header, want string) bool {
	for _, value := range h.Values("Accept") {
		for part := range strings.SplitSeq(value, ",") {
			if mediaType, params, err := mime.ParseMediaType(part); err == nil && mediaType == want && params["q"] != "0" {
				return true
			}
		}
	}
	return false
}
