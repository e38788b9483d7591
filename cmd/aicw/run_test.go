package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunShowsAJob(t *testing.T) {
	f := startFake(t, map[string]http.HandlerFunc{"POST /execute": stream(connected, output, completed)})
	got := aicw(t, f.URL, call{args: []string{"run", "--provider", "script", "mv a b"}})
	want := result{stdout: `session  ` + session + ` (new, script)
         renamed <14> files
done     in 413 ms
go on    aicw run --session ` + session + ` "…"
`}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{})); diff != "" {
		t.Error(diff)
	}
}

func TestRunPrintsJSONVerbatim(t *testing.T) {
	f := startFake(t, map[string]http.HandlerFunc{"POST /execute": stream(connected, output, failed)})
	got := aicw(t, f.URL, call{args: []string{"run", "--json", "x"}})
	want := result{status: exitFailed, stdout: connected + "\n" + output + "\n" + failed + "\n"}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{})); diff != "" {
		t.Error(diff)
	}
}

func TestExitStatus(t *testing.T) {
	cut := stream(connected)
	gone := answer(500, `{"error":"internal_error","message":"x"}`)
	for _, test := range []struct {
		name   string
		routes map[string]http.HandlerFunc
		args   []string
		want   int
		says   string
	}{
		{"completed", map[string]http.HandlerFunc{"POST /execute": stream(connected, completed)}, []string{"run", "x"}, 0, ""},
		{"failed", map[string]http.HandlerFunc{"POST /execute": stream(connected, failed)}, []string{"run", "x"}, exitFailed, "it broke (provider_error)"},
		{"aborted by somebody else", map[string]http.HandlerFunc{"POST /execute": stream(connected, aborted)}, []string{"run", "x"}, exitFailed, "(aborted)"},
		{"refused", map[string]http.HandlerFunc{"POST /execute": answer(400, `{"error":"invalid_request","field":"github.repoUrl","message":"no"}`)}, []string{"run", "x"}, exitUsage, "github.repoUrl: no"},
		{"busy", map[string]http.HandlerFunc{"POST /execute": answer(429, `{"error":"busy","message":"all busy","retryAfter":200}`)}, []string{"run", "x"}, exitUnavailable, "again in 60 s"},
		{"busy, no wait", map[string]http.HandlerFunc{"POST /execute": answer(429, `{"error":"busy","message":"all busy"}`)}, []string{"run", "--wait", "0", "x"}, exitUnavailable, "all busy"},
		{"session held", map[string]http.HandlerFunc{"POST /execute": answer(409, `{"error":"session_busy","message":"held"}`), "GET /sessions/s": answer(200, `{}`)}, []string{"run", "--session", "s", "x"}, exitUnavailable, "held"},
		{"lost", map[string]http.HandlerFunc{"POST /execute": cut, "GET /sessions/" + session + "/stream": gone}, []string{"run", "x"}, exitLost, "aicw attach "},
		{
			"no credential",
			map[string]http.HandlerFunc{"POST /execute": answer(400, `{"error":"invalid_request","field":"codingAssistantAuthentication","message":"is required"}`)},
			[]string{"run", "x"},
			exitUsage, "is required (invalid_request); it comes from --auth-file",
		},
		{"no key", map[string]http.HandlerFunc{"GET /sessions": answer(401, `{"error":"unauthorized","message":"no key"}`)}, []string{"sessions"}, exitUsage, "AICW_API_KEY"},
		{"unknown session", map[string]http.HandlerFunc{"GET /sessions/s/stream": answer(404, `{"error":"session_not_found","message":"none"}`)}, []string{"attach", "s"}, exitUsage, "none"},
		{"attach to a failed job", map[string]http.HandlerFunc{"GET /sessions/s/stream": stream(connected, failed)}, []string{"attach", "s"}, exitFailed, "it broke"},
		{"attach", map[string]http.HandlerFunc{"GET /sessions/s/stream": stream(connected, completed)}, []string{"attach", "s"}, 0, "done"},
		{"server error", map[string]http.HandlerFunc{"GET /sessions": gone}, []string{"sessions"}, exitUnavailable, "internal_error"},
		{"no request", nil, []string{"run"}, exitUsage, "see aicw --help"},
		{"empty request", nil, []string{"run", " "}, exitUsage, "empty"},
		{"unknown flag", nil, []string{"run", "--token", "x", "y"}, exitUsage, "unknown flag"},
		{"unknown command", nil, []string{"fly"}, exitUsage, "unknown command"},
		{"bad session", nil, []string{"show", "../x"}, exitUsage, "cannot be a session's ID"},
		{"bad server", nil, []string{"--server", "nonsense", "show", "x"}, exitUsage, "want a URL"},
		{"branch alone", nil, []string{"run", "--branch", "b", "x"}, exitUsage, "--repo"},
		{"negative turns", nil, []string{"run", "--max-turns", "-1", "x"}, exitUsage, "negative"},
		{"no image", nil, []string{"run", "--image", "/nonexistent", "x"}, exitUsage, "/nonexistent"},
		{"all after", nil, []string{"attach", "--all", "--after", "1-1", "s"}, exitUsage, "--after"},
		{"help", nil, []string{"--help"}, 0, "Exit status"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := startFake(t, test.routes)
			got := aicw(t, f.URL, call{args: test.args})
			if got.status != test.want {
				t.Errorf("status %d, want %d", got.status, test.want)
			}
			if !strings.Contains(got.stdout+got.stderr, test.says) {
				t.Errorf("%q is not said in:\n%s%s", test.says, got.stdout, got.stderr)
			}
		})
	}
}

func TestNoServer(t *testing.T) {
	f := startFake(t, nil)
	f.Close()
	got := aicw(t, f.URL, call{args: []string{"run", "x"}})
	if got.status != exitUnavailable || !strings.Contains(got.stdout, "again in 1 s") || !strings.Contains(got.stderr, "AICW_SERVER") {
		t.Errorf("status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
}

func TestRunSendsEveryFlag(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f := startFake(t, map[string]http.HandlerFunc{"POST /execute": stream(completed)})
	got := aicw(t, f.URL, call{
		args: []string{
			"run", "--repo", "https://git.example/r.git", "--branch", "b", "--directory", "d", "--provider", "claude", "--model", "m",
			"--permission-mode", "plan", "--max-turns", "3", "--image", write("a.png", "\x89PNG\r\n\x1a\n"), "--image", write("b.gif", "GIF89a"), "--no-commit",
			"--auth-file", write("auth", " {\"apiKey\":\"k\"}\n"), "--token-file", write("token", "t\n"), "-",
		},
		stdin: "from\nstdin",
	})
	if got.status != 0 {
		t.Fatalf("status %d: %s", got.status, got.stderr)
	}
	image := func(kind, data string) any {
		return map[string]any{"type": "image", "source": map[string]any{"type": "base64", "media_type": kind, "data": data}}
	}
	want := map[string]any{
		"userRequest": []any{
			map[string]any{"type": "text", "text": "from\nstdin"}, image("image/png", "iVBORw0KGgo="), image("image/gif", "R0lGODlh"),
		},
		"codingAssistantProvider": "claude", "codingAssistantAuthentication": `{"apiKey":"k"}`, "autoCommit": false,
		"github":          map[string]any{"repoUrl": "https://git.example/r.git", "branch": "b", "directory": "d", "accessToken": "t"},
		"providerOptions": map[string]any{"model": "m", "permissionMode": "plan", "maxTurns": 3.0},
	}
	body := f.posted(t)
	delete(body, "websiteSessionId")
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
}

func TestRefusedFiles(t *testing.T) {
	f := startFake(t, nil)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"run", "--auth-file", empty, "x"},
		{"run", "--image", empty, "x"},
		{"run", "--token-file", empty, "--repo", "https://h/r", "x"},
	} {
		if got := aicw(t, f.URL, call{args: args}); got.status != exitUsage || !strings.Contains(got.stderr, empty) {
			t.Errorf("%v: status %d, %s", args, got.status, got.stderr)
		}
	}
}

// A credential goes to the provider and the host that it is for, and nowhere else.
func TestCredentialsFromTheEnvironment(t *testing.T) {
	env := map[string]string{
		"ANTHROPIC_API_KEY": "anthropic", "OPENAI_API_KEY": "openai", "GITHUB_TOKEN": "github",
	}
	with := func(more ...string) map[string]string {
		all := map[string]string{}
		for k, v := range env {
			all[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	for _, test := range []struct {
		name, provider, repo string
		env                  map[string]string
		auth, token          any
	}{
		{"github.com", "claude-code", "https://github.com/u/r", env, "anthropic", "github"},
		{"another host", "ClaudeAgentSDK", "https://github.com.evil.example/u/r", env, "anthropic", nil},
		{"not encrypted", "Claude", "http://github.com/u/r", env, "anthropic", nil},
		{"another provider", "gemini", "https://user@GitHub.com/u/r", env, nil, "github"},
		{"no provider", "", "https://github.com/u/r", env, nil, "github"},
		{"script", "script", "https://github.com/u/r", env, nil, "github"},
		{"meant for any", "script", "https://other.example/u/r", with("AICW_AUTH", "own", "AICW_GIT_TOKEN", "any"), "own", "any"},
		{"Codex", "CodexSDK", "https://github.com/u/r", env, "openai", "github"},
		{"subscription first", "claude", "https://github.com/u/r", with("CLAUDE_CODE_OAUTH_TOKEN", "oauth"), "oauth", "github"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := startFake(t, map[string]http.HandlerFunc{"POST /execute": func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "" {
					t.Errorf("authorization is %q", got)
				}
				stream(completed)(w, r)
			}})
			got := aicw(t, f.URL, call{args: []string{"run", "--provider", test.provider, "--repo", test.repo, "x"}, env: test.env})
			if got.status != 0 {
				t.Fatalf("status %d: %s", got.status, got.stderr)
			}
			body := f.posted(t)
			if diff := cmp.Diff(test.auth, body["codingAssistantAuthentication"]); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.token, body["github"].(map[string]any)["accessToken"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A resume needs no more than the session: provider and repository are the session's.
func TestResumeKnowsWhatTheSessionKnows(t *testing.T) {
	stored := `{"sessionId":"s","provider":"claude-code","github":{"repoUrl":"https://github.com/u/r"}}`
	for _, test := range []struct {
		name string
		env  map[string]string
		want map[string]any
	}{
		{"with credentials", map[string]string{"ANTHROPIC_API_KEY": "a", "GITHUB_TOKEN": "g"}, map[string]any{
			"userRequest": "x", "resumeSessionId": "s", "codingAssistantProvider": "claude-code", "codingAssistantAuthentication": "a",
			"github": map[string]any{"repoUrl": "https://github.com/u/r", "accessToken": "g"},
		}},
		{"without", nil, map[string]any{"userRequest": "x", "resumeSessionId": "s", "codingAssistantProvider": "claude-code"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := startFake(t, map[string]http.HandlerFunc{"POST /execute": stream(completed), "GET /sessions/s": answer(200, stored)})
			if got := aicw(t, f.URL, call{args: []string{"run", "--session", "s", "x"}, env: test.env}); got.status != 0 {
				t.Fatalf("status %d: %s", got.status, got.stderr)
			}
			if diff := cmp.Diff(test.want, f.posted(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFirstInterruptAborts(t *testing.T) {
	stopped := make(chan struct{})
	signals := make(chan os.Signal, 1)
	f := startFake(t, map[string]http.HandlerFunc{
		"POST /execute": until(stopped, connected, aborted),
		"POST /abort": func(w http.ResponseWriter, r *http.Request) {
			answer(200, `{"status":"aborting"}`)(w, r)
			close(stopped)
		},
	})
	got := aicw(t, f.URL, call{args: []string{"run", "x"}, signals: signals, onWrite: onceShown("session", func() { signals <- os.Interrupt })})
	if got.status != exitInterrupted || !strings.Contains(got.stdout, "asking the worker to end the job") || !strings.Contains(got.stdout, "failed   aborted") {
		t.Errorf("status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
	if body := f.body("POST /abort"); body != `{"sessionId":"`+session+`"}` {
		t.Errorf("abort asked for %s", body)
	}
}

func TestSecondInterruptLeaves(t *testing.T) {
	signals := make(chan os.Signal, 2)
	f := startFake(t, map[string]http.HandlerFunc{
		"POST /execute": until(nil, connected),
		"POST /abort":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	})
	got := aicw(t, f.URL, call{args: []string{"run", "x"}, signals: signals, onWrite: onceShown("session", func() {
		signals <- os.Interrupt
		signals <- os.Interrupt
	})})
	if got.status != exitInterrupted || !strings.Contains(got.stdout, "goes on without you; to see it: aicw attach "+session) {
		t.Errorf("status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
}

func TestInterruptLeavesWhatCannotBeAborted(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		signal os.Signal
		first  string
	}{
		"attached":    {[]string{"attach", "s"}, os.Interrupt, connected},
		"terminated":  {[]string{"run", "x"}, syscall.SIGTERM, connected},
		"not started": {[]string{"run", "x"}, os.Interrupt, output},
	} {
		t.Run(name, func(t *testing.T) {
			signals := make(chan os.Signal, 1)
			hang := until(nil, test.first)
			f := startFake(t, map[string]http.HandlerFunc{"POST /execute": hang, "GET /sessions/s/stream": hang})
			got := aicw(t, f.URL, call{args: test.args, signals: signals, onWrite: onceShown(" ", func() { signals <- test.signal })})
			if got.status != exitInterrupted {
				t.Errorf("status %d\n%s%s", got.status, got.stdout, got.stderr)
			}
		})
	}
}

// run's own signals, and its own environment.
func TestRealInterrupt(t *testing.T) {
	stopped := make(chan struct{})
	f := startFake(t, map[string]http.HandlerFunc{
		"POST /execute": until(stopped, connected, completed),
		"POST /abort": func(w http.ResponseWriter, r *http.Request) {
			answer(200, `{"status":"aborting"}`)(w, r)
			close(stopped)
		},
	})
	stdout := &watched{onWrite: onceShown("session", func() { _ = syscall.Kill(os.Getpid(), syscall.SIGINT) })}
	status := run(context.Background(), []string{"run", "--server", f.URL, "x"}, func(string) string { return "" }, strings.NewReader(""), stdout, &watched{})
	if status != 0 { // the job was faster than the abort
		t.Errorf("status %d\n%s", status, stdout)
	}
	if !strings.Contains(stdout.String(), "aicw --server "+f.URL+" run --session "+session) {
		t.Errorf("the hint lacks the server:\n%s", stdout)
	}
}

func TestEndOfTheContextLeaves(t *testing.T) {
	f := startFake(t, map[string]http.HandlerFunc{"POST /execute": until(nil, connected)})
	ctx, cancel := context.WithCancel(t.Context())
	stdout := &watched{onWrite: onceShown("session", cancel)}
	if status := run(ctx, []string{"run", "--server", f.URL, "x"}, func(string) string { return "" }, strings.NewReader(""), stdout, &watched{}); status != exitInterrupted {
		t.Errorf("status %d\n%s", status, stdout)
	}
}

// onceShown calls f the first time that the text holds what.
func onceShown(what string, f func()) func(string) {
	var once sync.Once
	return func(shown string) {
		if strings.Contains(shown, what) {
			once.Do(f)
		}
	}
}
