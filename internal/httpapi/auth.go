package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const codeUnauthorized event.Code = "unauthorized"

// openRoutes are answered without a key. Probes and proxies look at the last two: they see the code and the status alone.
var openRoutes = []string{"/health", "/ready", "/status"}

// keyring checks API keys in a time that tells nothing of them: it compares digests, which have one length, and all of them.
type keyring [][sha256.Size]byte

func newKeyring(keys []secret.String) keyring {
	k := make(keyring, 0, len(keys))
	for _, key := range keys {
		k = append(k, sha256.Sum256([]byte(key.Reveal())))
	}
	return k
}

func (k keyring) opens(key string) bool {
	digest, found := sha256.Sum256([]byte(key)), 0
	for _, known := range k {
		found |= subtle.ConstantTimeCompare(digest[:], known[:])
	}
	return found == 1
}

// trusted reports whether a request may see and do everything: it has a key, or none is asked for.
func (s *Server) trusted(r *http.Request) bool {
	return len(s.keys) == 0 || s.keys.opens(givenKey(r))
}

// givenKey is the key of a request, from either of the headers that it may stand in.
func givenKey(r *http.Request) string {
	if scheme, key, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(key)
	}
	return r.Header.Get("X-API-Key")
}

// authenticate refuses whoever has no key. It says so before it says whether an endpoint exists.
func (s *Server) authenticate(c *gin.Context) {
	if s.trusted(c.Request) || slices.Contains(openRoutes, c.FullPath()) {
		return
	}
	c.Header("WWW-Authenticate", "Bearer")
	message := "this worker asks for an API key: send it as Authorization: Bearer KEY, or as X-API-Key"
	if givenKey(c.Request) != "" {
		message = "this API key is not one of the worker's API_KEYS"
	}
	s.fail(c, &refusal{Status: http.StatusUnauthorized, Code: codeUnauthorized, Message: message})
}

// refuseAgent keeps the processes of the worker's own agent from its API, whatever they know or ask for. They share its
// network, and could end the job or look at others.
func (s *Server) refuseAgent(c *gin.Context) {
	err := s.cfg.Guard.Admit(c.Request.Context())
	if err == nil {
		return
	}
	s.logger(c).Warn().Err(err).Msg("request refused")
	c.Header("Connection", "close")
	s.fail(c, &refusal{
		Status: http.StatusForbidden, Code: codeForbidden,
		Message: "the worker does not serve its own agent, nor processes on its machine whose user it cannot tell",
	})
}

// answerBriefly is answer for an open route: without a key there is nothing in it but the status.
func (s *Server) answerBriefly(c *gin.Context, code int, status string, body any) {
	if s.trusted(c.Request) {
		s.answer(c, code, body)
		return
	}
	s.answer(c, code, struct {
		Status string `json:"status"`
	}{status})
}
