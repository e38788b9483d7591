package httpapi_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const (
	appPage   = "https://app.example.com"
	localPage = "http://localhost:5173"
)

// foreign are origins that are none of the named ones, however near they come.
var foreign = []string{
	"https://evil.example.com", "http://app.example.com", "https://app.example.com:8443", "https://app.example.com.evil.net", "https://evilapp.example.com", "null",
}

func forPages(t *testing.T, keys ...secret.String) (*worker, *runner) {
	t.Helper()
	r := newRunner(t)
	cfg := config(t, r, newSessions())
	cfg.Origins, cfg.APIKeys = []string{appPage, localPage}, keys
	return serve(t, cfg), r
}

// preflight asks as a browser does before it sends a request of a page.
func (w *worker) preflight(path, page, method string, headers ...string) *http.Response {
	w.t.Helper()
	slices.Sort(headers)
	resp := w.open(context.Background(), http.MethodOptions, path, "", "Origin", page, "Access-Control-Request-Method", method,
		"Access-Control-Request-Headers", strings.Join(headers, ","), "Access-Control-Request-Private-Network", "true")
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) > 0 || resp.Header.Get("X-Container-ID") != "box" {
		w.t.Errorf("preflight of %s: %q, %v, %v", path, body, resp.Header, err)
	}
	return resp
}

func TestPreflightOfNamedPages(t *testing.T) {
	w, _ := forPages(t, secret.New(keyOne))
	for _, page := range []string{appPage, localPage} {
		for _, ask := range [][]string{
			{"/execute", "POST", "authorization", "content-type"},
			{"/abort", "POST", "content-type", "x-api-key"},
			{"/sessions/s/stream", "GET", "last-event-id", "x-api-key"},
			{"/sessions/s", "DELETE", "x-api-key"},
		} {
			resp := w.preflight(ask[0], page, ask[1], ask[2:]...)
			h := resp.Header
			if resp.StatusCode != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != page || h.Get("Access-Control-Allow-Methods") != ask[1] ||
				h.Get("Access-Control-Allow-Headers") != strings.Join(ask[2:], ",") || h.Get("Access-Control-Max-Age") != "600" ||
				h.Get("Access-Control-Allow-Private-Network") != "true" || !strings.Contains(h.Get("Vary"), "Origin") {
				t.Errorf("%s asks for %v: %d %v", page, ask, resp.StatusCode, h)
			}
			if h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("cookies are let in: %v", h)
			}
		}
	}
}

func TestPreflightThatIsRefused(t *testing.T) {
	w, _ := forPages(t)
	nobody := serve(t, config(t, newRunner(t), newSessions()))
	refused := func(what string, h http.Header) {
		t.Helper()
		for name := range h {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s: %v", what, name, h[name])
			}
		}
	}
	for _, page := range foreign {
		refused(page, w.preflight("/execute", page, "POST", "content-type").Header)
	}
	refused("method", w.preflight("/execute", appPage, "PUT").Header)
	refused("header", w.preflight("/execute", appPage, "POST", "content-type", "x-anything").Header)
	for _, page := range append([]string{appPage}, foreign...) {
		a := nobody.do(http.MethodOptions, "/execute", "", "Origin", page, "Access-Control-Request-Method", "POST")
		refused("no page is named, "+page, a.header)
		if a.status != http.StatusMethodNotAllowed {
			t.Errorf("no page is named: %d", a.status)
		}
	}
}

// A named page needs the key as everybody does, and can read why it is refused.
func TestRequestsOfNamedPages(t *testing.T) {
	w, r := forPages(t, secret.New(keyOne))
	crossSite := []string{"Origin", appPage, "Sec-Fetch-Site", "cross-site"}
	readable := func(a answer, status int) {
		t.Helper()
		if a.status != status || a.header.Get("Access-Control-Allow-Origin") != appPage || !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "X-Container-Id") {
			t.Errorf("%d, want %d: %v %s", a.status, status, a.header, a.raw)
		}
	}
	readable(w.do("POST", "/abort", "", crossSite...), http.StatusUnauthorized)
	withKey := append(crossSite, "X-API-Key", keyOne)
	readable(w.do("GET", "/sessions/none", "", withKey...), http.StatusNotFound)
	readable(w.do("GET", "/nothing", "", withKey...), http.StatusNotFound)
	readable(w.do("POST", "/abort", "", withKey...), http.StatusOK)

	posted := make(chan *stream, 1)
	go func() { posted <- w.stream("POST", "/execute", minimal, withKey...) }()
	run := r.next()
	log := run.begin("s", 1)
	s := <-posted
	if got := s.resp.Header.Get("Access-Control-Allow-Origin"); got != appPage {
		t.Errorf("the stream is for %q", got)
	}
	run.end(log, nil)
	s.rest()
}

// Without CORS_ORIGINS, and for every other page with it, a request that changes something is refused, with a good key too.
func TestRequestsOfForeignPages(t *testing.T) {
	w, _ := forPages(t, secret.New(keyOne))
	cfg := config(t, newRunner(t), newSessions())
	nobody := serve(t, cfg)
	for _, page := range foreign {
		for _, request := range [][2]string{{"POST", "/abort"}, {"DELETE", "/sessions/s"}, {"POST", "/shutdown"}, {"POST", "/execute"}} {
			a := w.do(request[0], request[1], minimal, "Origin", page, "Sec-Fetch-Site", "cross-site", "X-API-Key", keyOne)
			if a.status != http.StatusForbidden || a.body["error"] != "forbidden" || a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Fatalf("%s, %v: %d %v", page, request, a.status, a.header)
			}
		}
		if a := w.do("GET", "/status", "", "Origin", page); a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may read: %v", page, a.header)
		}
	}
	if a := nobody.do("POST", "/abort", "", "Origin", appPage, "Sec-Fetch-Site", "cross-site"); a.status != http.StatusForbidden {
		t.Errorf("no page is named: %d %s", a.status, a.raw)
	}
	if a := nobody.do("GET", "/status", "", "Origin", appPage); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("no page is named: %v", a.header)
	}
}

// askAs sends a request by a name of the worker, over a connection to the address.
func askAs(t *testing.T, cfg httpapi.Config, local, host, path string) int {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.Host = host
	addr, err := net.ResolveTCPAddr("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	httpapi.New(cfg).Handler().ServeHTTP(recorder, req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, addr)))
	return recorder.Code
}

// A page whose name was made to stand for a loopback address is one of the worker's own origin to the browser.
func TestNamesOfAWorkerOnLoopback(t *testing.T) {
	cfg := config(t, newRunner(t), newSessions())
	cfg.Origins = []string{"https://worker.example.com:8443"}
	for host, status := range map[string]int{
		"localhost": 404, "LOCALHOST:5000": 404, "app.localhost:5000": 404, "127.0.0.1:5000": 404, "[::1]:5000": 404, "": 404, "worker:5000": 404,
		"worker.example.com": 404, "Worker.example.com:8443": 404,
		"evil.example.com:5000": 403, "localhost.evil.example.com": 403, "127.0.0.1.evil.example.com:5000": 403, "example.com": 403, "evil.example.com.": 403, "evil.local": 403,
	} {
		for _, local := range []string{"127.0.0.1:5000", "[::1]:5000", "127.8.9.1:5000"} {
			if got := askAs(t, cfg, local, host, "/sessions/none"); got != status {
				t.Errorf("%q at %s: %d, want %d", host, local, got, status)
			}
		}
		if got := askAs(t, cfg, "10.0.0.1:5000", host, "/sessions/none"); got != 404 {
			t.Errorf("%q at an address that others reach too: %d", host, got)
		}
	}
	if got := askAs(t, cfg, "127.0.0.1:5000", "worker", "/health"); got != 200 {
		t.Errorf("a probe: %d", got)
	}
	cfg.APIKeys = []secret.String{secret.New(keyOne)}
	if got := askAs(t, cfg, "127.0.0.1:5000", "evil.example.com", "/sessions/none"); got != 401 {
		t.Errorf("with keys: %d", got)
	}
}

func TestServerRefusesANameOfStrangers(t *testing.T) {
	w := serve(t, config(t, newRunner(t), newSessions()))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/sessions/none", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example.com:5000"
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", resp.StatusCode)
	}
}
