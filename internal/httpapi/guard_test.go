package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/internal/localpeer"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// Whoever the guard refuses is told nothing by any endpoint, with a good key neither, and changes nothing.
func TestGuardedConnectionsAreRefused(t *testing.T) {
	cfg := config(t, newRunner(t), newSessions())
	cfg.APIKeys = []secret.String{secret.New(keyOne)}
	cfg.Guard = localpeer.NewGuard(uint32(os.Geteuid()))
	w := serve(t, cfg)
	for _, request := range [][2]string{
		{"POST", "/execute"},
		{"GET", "/health"},
		{"GET", "/ready"},
		{"GET", "/status"},
		{"GET", "/openapi.yaml"},
		{"GET", "/sessions"},
		{"GET", "/sessions/s"},
		{"GET", "/sessions/s/files"},
		{"GET", "/sessions/s/stream"},
		{"DELETE", "/sessions/s"},
		{"POST", "/abort"},
		{"POST", "/shutdown"},
		{"OPTIONS", "/execute"},
		{"GET", "/none"},
	} {
		a := w.do(request[0], request[1], minimal, "X-API-Key", keyOne)
		if a.status != http.StatusForbidden || a.body["error"] != "forbidden" {
			t.Errorf("%v: %d %s", request, a.status, a.raw)
		}
	}
	select {
	case err := <-w.served:
		t.Errorf("the worker left: %v", err)
	default:
	}
}

func TestOthersPassTheGuard(t *testing.T) {
	cfg := config(t, newRunner(t), newSessions())
	cfg.Guard = localpeer.NewGuard(uint32(os.Geteuid() + 1))
	if a := serve(t, cfg).do("GET", "/status", ""); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// A server that does not show its connections to the guard serves nobody.
func TestAGuardThatSawNothingRefuses(t *testing.T) {
	cfg := config(t, newRunner(t), newSessions())
	cfg.Guard = localpeer.NewGuard(uint32(os.Geteuid() + 1))
	w := httptest.NewRecorder()
	httpapi.New(cfg).Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health", http.NoBody))
	if w.Code != http.StatusForbidden {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
