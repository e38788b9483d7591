package httpapi

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/rs/cors"
)

// preflightAge is for how many seconds a browser need not ask again.
const preflightAge = 600

// newCORS lets pages of some origins send requests and read the answers; nil where there are none. Cookies are not part
// of it: no answer depends on one.
func newCORS(origins []string) *cors.Cors {
	if len(origins) == 0 { // to the library that would be all of them
		return nil
	}
	return cors.New(cors.Options{
		AllowedOrigins:      origins,
		AllowedMethods:      []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		AllowedHeaders:      []string{"Authorization", "Content-Type", "Last-Event-ID", "X-API-Key"},
		ExposedHeaders:      []string{"Retry-After", "X-Container-ID", "X-Request-ID"},
		MaxAge:              preflightAge,
		AllowPrivateNetwork: true, // a worker seldom has a public address, and the page was named
	})
}

// admitPages answers the questions that browsers ask before they send a page's request. They come without a key.
func (s *Server) admitPages(c *gin.Context) {
	if s.cors == nil {
		return
	}
	s.cors.HandlerFunc(c.Writer, c.Request)
	if c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != "" {
		c.Abort()
	}
}

// refuseForeignPages keeps a web page of another origin from driving the worker through somebody's browser, unless it
// was named. Clients that are no browsers send none of the headers it looks at.
func (s *Server) refuseForeignPages(c *gin.Context) {
	if slices.Contains(s.cfg.Origins, c.GetHeader("Origin")) {
		return
	}
	if err := http.NewCrossOriginProtection().Check(c.Request); err != nil {
		s.fail(c, &refusal{Status: http.StatusForbidden, Code: codeForbidden, Message: "requests from pages of another origin are refused: CORS_ORIGINS names those that are not"})
	}
}

// refuseForeignNames is for a worker on a loopback address that asks for no key. A page can make its own name stand for that
// address; to the browser it then is a page of this worker's own origin. Who asks for localhost, or by an address, is no such page.
func (s *Server) refuseForeignNames(c *gin.Context) {
	if len(s.keys) > 0 || slices.Contains(openRoutes, c.FullPath()) || !onLoopback(c.Request) || s.ownName(c.Request.Host) {
		return
	}
	s.fail(c, &refusal{
		Status: http.StatusForbidden, Code: codeForbidden,
		Message: "a worker without API_KEYS on a loopback address is asked for as localhost, by its address, or by a name that is in CORS_ORIGINS",
	})
}

func onLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

// ownName reports whether no stranger can have made up the name by which the worker was asked for: one without a dot, as
// localhost, is nobody's on the internet.
func (s *Server) ownName(host string) bool {
	name := (&url.URL{Host: strings.ToLower(host)}).Hostname()
	if !strings.Contains(name, ".") || strings.HasSuffix(name, ".localhost") || net.ParseIP(name) != nil {
		return true
	}
	return slices.ContainsFunc(s.cfg.Origins, func(origin string) bool {
		u, err := url.Parse(origin)
		return err == nil && u.Hostname() == name
	})
}
