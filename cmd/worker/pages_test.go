package main

import (
	"net/http"
	"testing"
)

func TestPagesOfOtherOrigins(t *testing.T) {
	ask := func(p *proc, page string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, p.URL+"/execute", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", page)
		req.Header.Set("Access-Control-Request-Method", http.MethodPost)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.Header.Get("Access-Control-Allow-Origin")
	}
	const page = "https://app.example.com"
	named := startWorker(t, with(env(t), "CORS_ORIGINS", page, "API_KEYS", "canary-0123456789"))
	if got := ask(named, page); got != page {
		t.Errorf("the named page may ask as %q", got)
	}
	if got := ask(named, "https://evil.example.com"); got != "" {
		t.Errorf("a page that is not named may ask as %q", got)
	}
	if got := ask(startWorker(t, env(t)), page); got != "" {
		t.Errorf("without CORS_ORIGINS a page may ask as %q", got)
	}
}
