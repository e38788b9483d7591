package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJobFromRequestToPushedBranch(t *testing.T) {
	host, repoURL := startGit(t)
	base := env(t)
	first := startWorker(t, base)
	s := first.post(script("echo hello > hello.txt && echo written", "github", github(repoURL), "websiteSessionId", "site-1"))
	done := s.completed()

	want := []string{"connected", "session_name", "branch_created", "assistant_message", "commit_progress", "completed"}
	if diff := cmp.Diff(want, ordered(s.types(), want)); diff != "" {
		t.Errorf("events (-want +got):\n%s\n%s", diff, s)
	}
	if got := strings.Count(s.String(), "Connecting"); got != 1 {
		t.Errorf("connecting is told %d times:\n%s", got, s)
	}
	branch := done["branch"].(string)
	if !strings.HasPrefix(branch, "aicw/") || done["pushed"] != true {
		t.Errorf("completed: %v", done)
	}
	dir := host.Dir("acme/site")
	if got := git(t, dir, "show", branch+":hello.txt"); got != "hello\n" {
		t.Errorf("hello.txt on %s: %q", branch, got)
	}
	if got := strings.TrimSpace(git(t, dir, "rev-parse", branch)); got != done["commitHash"] {
		t.Errorf("branch is at %s, completed says %v", got, done["commitHash"])
	}
	if code := first.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}

	second := startWorker(t, with(base, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"]))
	s = second.post(script("cat hello.txt && echo more >> hello.txt", "github", map[string]any{"accessToken": gitToken, "repoUrl": repoURL}, "websiteSessionId", "site-1"))
	done = s.completed()
	if done["branch"] != branch {
		t.Errorf("resumed on branch %v, want %s", done["branch"], branch)
	}
	if got := git(t, dir, "show", branch+":hello.txt"); got != "hello\nmore\n" {
		t.Errorf("hello.txt after the resume: %q", got)
	}
	if slices.Contains(s.types(), "session_name") || slices.Contains(s.types(), "branch_created") {
		t.Errorf("a resume names the session again:\n%s", s)
	}
	if s.events[0]["resuming"] != true {
		t.Errorf("connected: %v", s.events[0])
	}
}

// ordered keeps the first occurrence of each wanted type.
func ordered(types, want []string) []string {
	var out []string
	for _, typ := range types {
		if slices.Contains(want, typ) && !slices.Contains(out, typ) {
			out = append(out, typ)
		}
	}
	return out
}

func TestJobWithoutRepository(t *testing.T) {
	base := env(t)
	s := startWorker(t, base).post(script("echo note > note.txt", "websiteSessionId", "plain"))
	if done := s.completed(); done["branch"] != nil || done["commitHash"] != nil {
		t.Errorf("completed: %v", done)
	}
	s = startWorker(t, with(base, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"])).post(script("cat note.txt", "resumeSessionId", "plain"))
	s.until(says("note"))
	s.completed()
}

func TestJobWithNothingToCommit(t *testing.T) {
	_, repoURL := startGit(t)
	s := startWorker(t, env(t)).post(script("true", "github", github(repoURL)))
	s.completed()
	var stages []string
	for _, e := range s.events {
		if e["type"] == "commit_progress" {
			stages = append(stages, e["stage"].(string))
		}
	}
	if diff := cmp.Diff([]string{"analyzing", "skipped"}, stages); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
}

func TestCommitStages(t *testing.T) {
	_, repoURL := startGit(t)
	s := startWorker(t, env(t)).post(script("echo x > x", "github", github(repoURL)))
	s.completed()
	var stages []string
	for _, e := range s.events {
		if e["type"] == "commit_progress" {
			stages = append(stages, e["stage"].(string))
		}
	}
	want := []string{"analyzing", "generating_message", "committing", "committed", "pushing", "pushed", "completed"}
	if diff := cmp.Diff(want, stages); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
}

func TestAutoCommitOff(t *testing.T) {
	host, repoURL := startGit(t)
	base := env(t)
	s := startWorker(t, base).post(script("echo x > x", "github", github(repoURL), "autoCommit", false, "websiteSessionId", "held"))
	done := s.completed()
	if done["commitHash"] != nil || done["pushed"] != nil || slices.Contains(s.types(), "commit_progress") {
		t.Errorf("something was committed:\n%s", s)
	}
	if heads := git(t, host.Dir("acme/site"), "for-each-ref", "refs/heads/aicw"); heads != "" {
		t.Errorf("something was pushed: %s", heads)
	}
	s = startWorker(t, base).post(script("cat x", "websiteSessionId", "held", "github", github(repoURL)))
	done = s.completed()
	if got := git(t, host.Dir("acme/site"), "show", done["branch"].(string)+":x"); got != "x\n" {
		t.Errorf("x after the resume: %q", got)
	}
}

func TestFailuresKeepTheWork(t *testing.T) {
	host, repoURL := startGit(t)
	base := env(t)
	s := startWorker(t, base).post(script("echo half > half.txt; exit 3", "github", github(repoURL)))
	last := s.failed("provider_error")
	if last["pushed"] != true {
		t.Errorf("error: %v", last)
	}
	log := git(t, host.Dir("acme/site"), "log", "-1", "--format=%s", last["branch"].(string))
	if !strings.HasPrefix(log, "wip:") {
		t.Errorf("commit message %q, want wip: …", log)
	}

	for _, tt := range []struct {
		name, code string
		github     map[string]any
	}{
		{"unknown repository", "repo_not_found", map[string]any{"repoUrl": host.URL() + "/acme/none.git", "accessToken": gitToken}},
		{"wrong token", "git_auth_error", map[string]any{"repoUrl": repoURL, "accessToken": "ghp_wrongwrongwrong"}},
		{"no token", "git_auth_error", map[string]any{"repoUrl": repoURL}},
		{"unknown branch", "branch_not_found", map[string]any{"repoUrl": repoURL, "accessToken": gitToken, "branch": "mian"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := startWorker(t, env(t))
			s := p.post(script("echo x > x", "github", tt.github))
			s.failed(tt.code)
			if slices.Contains(s.types(), "assistant_message") {
				t.Errorf("the agent ran:\n%s", s)
			}
			if code := p.exited(); code != 0 {
				t.Errorf("exit status %d", code)
			}
		})
	}
}

func TestRefusalsBeforeTheStream(t *testing.T) {
	_, repoURL := startGit(t)
	base := env(t)
	s := startWorker(t, base).post(script("true", "websiteSessionId", "known", "github", github(repoURL)))
	s.completed()
	p := startWorker(t, base)
	other := map[string]any{"repoUrl": "http://127.0.0.1:1/acme/other.git"}
	for _, tt := range []struct {
		name    string
		request map[string]any
		status  int
		want    []string
	}{
		{"unknown session", script("true", "resumeSessionId", "nobody"), http.StatusNotFound, []string{"session_not_found"}},
		{"another repository", script("true", "websiteSessionId", "known", "github", other), http.StatusBadRequest, []string{"invalid_request", "github.repoUrl"}},
		{"unknown provider", map[string]any{"userRequest": "x", "codingAssistantProvider": "gpt"}, http.StatusBadRequest, []string{"unsupported_provider", "script"}},
		{"no request", map[string]any{"codingAssistantProvider": "script"}, http.StatusBadRequest, []string{"invalid_request", "userRequest"}},
	} {
		status, _, body := p.tryPost(tt.request)
		if status != tt.status {
			t.Errorf("%s: status %d, want %d: %s", tt.name, status, tt.status, body)
		}
		for _, want := range tt.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %s does not say %s", tt.name, body, want)
			}
		}
	}
	p.post(script("true")).completed()
}
