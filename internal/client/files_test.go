package client_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

// listing asks a server that answers with the body for the files of session s.
func listing(t *testing.T, status int, body string, take func(client.File) error) error {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/sessions/s/files" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer server.Close()
	c, err := client.New(client.Config{BaseURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.Files(t.Context(), "s", take)
}

func TestFiles(t *testing.T) {
	var got []string
	err := listing(t, 200, `{"sessionId":"s","files":[
{"path":"a","type":"file","mode":"0644","size":3,"modifiedAt":"2026-03-14T09:26:53.5Z","new":1},
{"path":"b","type":"symlink","target":"a"}
],"more":{"x":[1]},"fileCount":2}`, func(f client.File) error {
		got = append(got, f.Path+" "+f.Type+" "+f.Target)
		if f.Path == "a" && (f.Size != 3 || f.Mode != "0644" || f.ModifiedAt.Year() != 2026 || !strings.Contains(string(f.Raw), `"new":1`)) {
			t.Errorf("%+v", f)
		}
		return nil
	})
	if err != nil || strings.Join(got, ",") != "a file ,b symlink a" {
		t.Errorf("%q, %v", got, err)
	}
	if err := listing(t, 200, `{"files":[],"fileCount":0}`, nil); err != nil {
		t.Errorf("none: %v", err)
	}
	enough := errors.New("enough")
	if err := listing(t, 200, `{"files":[{}],"fileCount":1}`, func(client.File) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("refused: %v", err)
	}
}

// A list that is not whole is never taken for one that is.
func TestFilesThatAreCut(t *testing.T) {
	for _, body := range []string{
		``, `{`, `{"files":[`, `{"files":[{"path":"a"}`, `{"files":[{"path":"a"}]`, `{"files":[{"path":"a"}]}`, `{"files":[{"path":"a"}],"fileCount":2}`,
		`[]`, `{"files":{}}`, `"x"`, `{"files":[1],"fileCount":1}`, `<html>`,
	} {
		if err := listing(t, 200, body, func(client.File) error { return nil }); err == nil {
			t.Errorf("%q is taken for a whole list", body)
		}
	}
	var refused *client.APIError
	err := listing(t, 404, `{"error":"session_not_found","message":"there is no such session"}`, nil)
	if !errors.As(err, &refused) || refused.Code != "session_not_found" {
		t.Errorf("unknown session: %v", err)
	}
}
