package client_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// The key goes with every kind of request, streams included, and a refusal is no reason to try again.
func TestAPIKey(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.URL.Path+" "+r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"unauthorized","message":"no"}`))
	}))
	defer server.Close()
	c, err := client.New(client.Config{BaseURL: server.URL, APIKey: secret.New("canary-key")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(t.Context()); err == nil {
		t.Error("no error for a 401")
	}
	if _, err := c.Attach(t.Context(), "s", client.From{}, func(client.Event) error { return nil }); err == nil {
		t.Error("no error for a stream's 401")
	}
	want := []string{"/status Bearer canary-key", "/sessions/s/stream Bearer canary-key"}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("requests %q, want %q", got, want)
	}
}
