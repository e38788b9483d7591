package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const metadata = `{"sessionId":"s1","sessionName":"Add \u001b[31mit","provider":"script","status":"completed","attempt":2,` +
	`"createdAt":"2026-03-14T09:26:53.589Z","updatedAt":"2026-03-14T09:27:20.954Z","github":{"repoUrl":"https://h/r","baseBranch":"main","branch":"aicw/b","head":"h1","pushed":"h0"},` +
	`"usage":{"inputTokens":12345,"outputTokens":2,"costUsd":0.5},"eventCount":14}`

func TestSessionsLists(t *testing.T) {
	pages := map[string]string{
		"":   `{"sessions":[` + metadata + `],"nextCursor":"s1"}`,
		"s1": `{"sessions":[{"sessionId":"s2","status":"running"},{"sessionId":"s3"}]}`,
	}
	f := startFake(t, map[string]http.HandlerFunc{"GET /sessions": func(w http.ResponseWriter, r *http.Request) {
		answer(200, pages[r.URL.Query().Get("cursor")])(w, r)
	}})
	got := aicw(t, f.URL, call{args: []string{"sessions", "--limit", "2"}})
	want := result{stdout: `SESSION  STATUS     PROVIDER  UPDATED               BRANCH  NAME
s1       completed  script    2026-03-14 09:27 UTC  aicw/b  Add it
s2       running                                            ` + "\n"}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{})); diff != "" {
		t.Error(diff)
	}
	if got := aicw(t, f.URL, call{args: []string{"sessions", "--json", "--limit", "0"}}); strings.Count(got.stdout, "\n") != 3 || !strings.HasPrefix(got.stdout, metadata+"\n") {
		t.Errorf("JSON is\n%s", got.stdout)
	}
}

func TestShow(t *testing.T) {
	f := startFake(t, map[string]http.HandlerFunc{"GET /sessions/s1": answer(200, metadata)})
	want := `session    s1
name       Add it
status     completed
provider   script
jobs       2
events     14
created    2026-03-14 09:26 UTC
updated    2026-03-14 09:27 UTC
repository https://h/r
base       main
branch     aicw/b
commit     h1, not pushed
cost       $0.5000, 12,345 tokens in, 2 out
`
	if diff := cmp.Diff(want, aicw(t, f.URL, call{args: []string{"show", "s1"}}).stdout); diff != "" {
		t.Error(diff)
	}
	if got := aicw(t, f.URL, call{args: []string{"show", "s1", "--json"}}); got.stdout != metadata+"\n" {
		t.Errorf("JSON is %s", got.stdout)
	}
}

func TestAbortCommand(t *testing.T) {
	for outcome, want := range map[string]string{
		"aborting": "ends now", "requested": "another worker", "not_running": "no running job", "new\x1b[31m": "new\n",
	} {
		body := `{"status":"` + strings.ReplaceAll(outcome, "\x1b", `\u001b`) + `"}`
		f := startFake(t, map[string]http.HandlerFunc{"POST /abort": answer(200, body)})
		if got := aicw(t, f.URL, call{args: []string{"abort", "s1"}}); got.status != 0 || !strings.Contains(got.stdout, want) {
			t.Errorf("%s: status %d, %q", outcome, got.status, got.stdout)
		}
	}
}

func TestErrorsFromTheServerAreCleaned(t *testing.T) {
	f := startFake(t, map[string]http.HandlerFunc{"GET /sessions": answer(400, `{"error":"x","message":"a\u001b]0;t\u0007b\nc"}`)})
	if got := aicw(t, f.URL, call{args: []string{"sessions"}}); got.stderr != "aicw: ab c (x)\n" {
		t.Errorf("stderr is %q", got.stderr)
	}
}

func TestEscapeControlsKeepsTheJSON(t *testing.T) {
	const in, want = "{\"a\":\"\u009b31m\u007fé\"}", `{"a":"\u009b31m\u007fé"}`
	if got := escapeControls(in); got != want {
		t.Errorf("got %s", got)
	}
}

func TestDeleteCommand(t *testing.T) {
	f := startFake(t, map[string]http.HandlerFunc{
		"DELETE /sessions/one": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"deleted":true}`) },
		"DELETE /sessions/two": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"error":"session_busy","message":"another job holds this session"}`)
		},
	})
	got := aicw(t, f.URL, call{args: []string{"delete", "two", "one"}})
	if got.status != exitUnavailable || got.stdout != "deleted one\n" || !strings.Contains(got.stderr, "two: ") {
		t.Errorf("status %d, %q, %q", got.status, got.stdout, got.stderr)
	}
	if got := aicw(t, f.URL, call{args: []string{"delete", "../x"}}); got.status != exitUsage {
		t.Errorf("status %d, %q", got.status, got.stderr)
	}
}

// The shell asks by a hidden command for what could come next.
func TestCompletion(t *testing.T) {
	f := startFake(t, map[string]http.HandlerFunc{"GET /sessions": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"sessions":[{"sessionId":"alpha","sessionName":"First"},{"sessionId":"beta"}]}`)
	}})
	for _, command := range [][]string{{"show"}, {"abort"}, {"delete"}, {"attach"}, {"run", "--session"}} {
		got := aicw(t, f.URL, call{args: append(append([]string{"__complete"}, command...), "al")})
		if !strings.HasPrefix(got.stdout, "alpha\tFirst\n:") {
			t.Errorf("%s: %q", command, got.stdout)
		}
	}
	if got := aicw(t, "http://127.0.0.1:1", call{args: []string{"__complete", "show", ""}}); got.status != 0 || !strings.HasPrefix(got.stdout, ":") {
		t.Errorf("without a worker: status %d, %q", got.status, got.stdout)
	}
}

func TestShowFiles(t *testing.T) {
	const one = `{"path":"checkout/a.go","type":"file","mode":"0640","size":1834,"modifiedAt":"2026-03-14T09:27:20.071Z"}`
	body := `{"sessionId":"s1","files":[{"path":"checkout","type":"directory","mode":"0755","modifiedAt":"2026-03-14T09:27:20Z"},` + one + `,` +
		`{"path":"checkout/l\u001b[31m\n\u202e","type":"symlink","mode":"0777","modifiedAt":"2026-03-14T09:27:20Z","target":"a b"},` +
		`{"path":"checkout/again","type":"link","mode":"x","modifiedAt":"2026-03-14T09:27:20Z","target":"checkout/a.go"}],"fileCount":4}`
	f := startFake(t, map[string]http.HandlerFunc{"GET /sessions/s1/files": answer(200, body), "GET /sessions/s2/files": answer(200, body[:len(body)-20])})
	want := `drwxr-xr-x          0  2026-03-14 09:27  checkout/
-rw-r-----       1834  2026-03-14 09:27  checkout/a.go
lrwxrwxrwx          0  2026-03-14 09:27  "checkout/l\x1b[31m\n\u202e" -> a b
-?????????          0  2026-03-14 09:27  checkout/again = checkout/a.go
`
	if diff := cmp.Diff(want, aicw(t, f.URL, call{args: []string{"show", "s1", "--files"}}).stdout); diff != "" {
		t.Error(diff)
	}
	if got := aicw(t, f.URL, call{args: []string{"show", "--files", "--json", "s1"}}); strings.Count(got.stdout, "\n") != 4 || !strings.Contains(got.stdout, "\n"+one+"\n") {
		t.Errorf("JSON is\n%s", got.stdout)
	}
	if got := aicw(t, f.URL, call{args: []string{"show", "s2", "--files"}}); got.status == 0 || !strings.Contains(got.stderr, "cut") {
		t.Errorf("a list that was cut: status %d, %q", got.status, got.stderr)
	}
	if got := aicw(t, f.URL, call{args: []string{"__complete", "show", "--fi"}}); !strings.Contains(got.stdout, "--files\t") {
		t.Errorf("the shell is not offered --files: %q", got.stdout)
	}
}
