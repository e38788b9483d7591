package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const (
	keyOne = "key-one-0123456789"
	keyTwo = "key-two-0123456789"
)

func locked(t *testing.T, stored *sessions) (*worker, *runner) {
	t.Helper()
	r := newRunner(t)
	cfg := config(t, r, stored)
	cfg.APIKeys = []secret.String{secret.New(keyOne), secret.New(keyTwo)}
	return serve(t, cfg), r
}

// Without a key nothing but the worker's health is told, whatever exists behind it.
func TestEveryEndpointAsksForAKey(t *testing.T) {
	w, _ := locked(t, newSessions())
	for _, header := range [][]string{
		{},
		{"Authorization", "Bearer wrong-0123456789"},
		{"Authorization", "Bearer " + keyOne + "x"},
		{"Authorization", "Bearer " + keyOne[1:]},
		{"Authorization", "Basic " + keyOne},
		{"Authorization", keyOne},
		{"Authorization", "Bearer "},
		{"X-API-Key", ""},
		{"X-API-Key", "Bearer " + keyOne},
	} {
		for _, request := range [][2]string{
			{"POST", "/execute"},
			{"GET", "/sessions"},
			{"GET", "/sessions/s"},
			{"GET", "/sessions/s/stream"},
			{"POST", "/abort"},
			{"GET", "/nothing"},
			{"DELETE", "/execute"},
		} {
			a := w.do(request[0], request[1], minimal, header...)
			if a.status != http.StatusUnauthorized || a.body["error"] != "unauthorized" || a.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%v with %v: %d %s", request, header, a.status, a.raw)
			}
		}
	}
	if a := w.do("GET", "/status", "", "X-API-Key", keyOne); a.body["status"] != "idle" {
		t.Errorf("the worker is %v after refusals", a.body["status"])
	}
}

func TestKeysOpenTheAPI(t *testing.T) {
	stored := newSessions()
	stored.ping = func(context.Context) error { return nil }
	w, _ := locked(t, stored)
	for _, header := range [][]string{
		{"Authorization", "Bearer " + keyOne},
		{"Authorization", "bearer  " + keyTwo},
		{"X-API-Key", keyTwo},
	} {
		if a := w.do("GET", "/ready", "", header...); a.body["containerId"] != "box" || a.status != http.StatusOK {
			t.Errorf("%v: %d %s", header, a.status, a.raw)
		}
	}
}

// Probes have no key: they see the code, and nothing of the job.
func TestOpenEndpoints(t *testing.T) {
	stored := newSessions()
	var away error
	stored.ping = func(context.Context) error { return away }
	w, r := locked(t, stored)
	brief := func(path string, code int, status string) {
		t.Helper()
		a := w.do("GET", path, "")
		if diff := cmp.Diff(map[string]any{"status": status}, a.body); a.status != code || diff != "" {
			t.Errorf("%s: %d, want %d; %s", path, a.status, code, diff)
		}
	}
	if a := w.do("GET", "/health", ""); a.body["status"] != "ok" || a.body["version"] != "v1" {
		t.Errorf("/health: %s", a.raw)
	}
	brief("/ready", http.StatusOK, "ready")
	brief("/status", http.StatusOK, "idle")
	away = errors.New("storage is away")
	brief("/ready", http.StatusServiceUnavailable, "not ready")

	posted := make(chan *stream, 1)
	go func() { posted <- w.stream("POST", "/execute", minimal, "X-API-Key", keyOne) }()
	run := r.next()
	log := run.begin("s", 1)
	s := <-posted
	brief("/status", http.StatusTooManyRequests, "busy")
	if a := w.do("GET", "/status", "", "X-API-Key", keyOne); a.body["sessionId"] != "s" {
		t.Errorf("with a key: %s", a.raw)
	}
	run.end(log, nil)
	s.rest()
}
