package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/fsuid"
	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
)

// effects show of each variable what it does to a whole worker, beside what the worker does without it.
var effects = map[string]func(t *testing.T){
	"HOST": func(t *testing.T) {
		if p := startWorker(t, with(env(t), "HOST", "127.0.0.2")); !strings.HasPrefix(p.URL, "http://127.0.0.2:") {
			t.Errorf("listens on %s", p.URL)
		}
	},
	"PORT": func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		_, port, _ := net.SplitHostPort(taken.Addr().String())
		endsAtStart(t, with(env(t), "PORT", port), "127.0.0.1:"+port)
	},
	"STATE_DIR": func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "own")
		startWorker(t, with(env(t), "STATE_DIR", dir)).post(script("echo begun; sleep 60", "websiteSessionId", "own")).until(says("begun"))
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info, err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*own*")); err != nil || len(left) == 0 {
			t.Errorf("nothing of the job in it: %v, %v", left, err)
		}
	},
	"MINIO_PORT": func(t *testing.T) {
		base := minioEnv(t)
		host, port, _ := net.SplitHostPort(base["MINIO_ENDPOINT"])
		wantStatus(t, startWorker(t, with(base, "MINIO_ENDPOINT", host+":1", "MINIO_PORT", port)), "GET", "/ready", http.StatusOK)
		wantStatus(t, startWorker(t, with(base, "MINIO_PORT", "1")), "GET", "/ready", http.StatusServiceUnavailable)
	},
	"MINIO_SECRET_KEY": func(t *testing.T) {
		base := minioEnv(t)
		wantStatus(t, startWorker(t, base), "GET", "/ready", http.StatusOK)
		wantStatus(t, startWorker(t, with(base, "MINIO_SECRET_KEY", "another-key")), "GET", "/ready", http.StatusServiceUnavailable)
	},
	"MINIO_USE_SSL": func(t *testing.T) {
		wantStatus(t, startWorker(t, with(minioEnv(t), "MINIO_USE_SSL", "true")), "GET", "/ready", http.StatusServiceUnavailable)
	},
	"MINIO_ACCESS_KEY": askStore, "MINIO_BUCKET": askStore, "MINIO_REGION": askStore,
	"CODING_ASSISTANT_PROVIDER": ownCredential, "CODING_ASSISTANT_AUTHENTICATION": ownCredential,
	"API_KEYS": func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(file, []byte("canary-of-a-file-0123\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*proc{startWorker(t, with(env(t), "API_KEYS", "canary-of-a-file-0123")), startWorker(t, with(env(t), "API_KEYS_FILE", file))} {
			wantStatus(t, p, "GET", "/sessions", http.StatusUnauthorized)
			wantStatus(t, p, "GET", "/sessions", http.StatusOK, "X-API-Key", "canary-of-a-file-0123")
		}
		wantStatus(t, startWorker(t, env(t)), "GET", "/sessions", http.StatusOK)
	},
	"ALLOW_ANONYMOUS": func(t *testing.T) {
		open := with(env(t), "HOST", "0.0.0.0", "GITHUB_ACCESS_TOKEN", gitToken)
		endsAtStart(t, open, "ALLOW_ANONYMOUS")
		startWorker(t, with(open, "ALLOW_ANONYMOUS", "true"))
	},
	"MAX_BODY_BYTES": func(t *testing.T) {
		request := script("true " + strings.Repeat("x", 1000))
		if status, _, body := startWorker(t, with(env(t), "MAX_BODY_BYTES", "1000")).tryPost(request); status != http.StatusRequestEntityTooLarge {
			t.Errorf("%d %s", status, body)
		}
		startWorker(t, env(t)).post(request).completed()
	},
	"BRANCH_PREFIX": commits, "GIT_AUTHOR_NAME": commits, "GIT_AUTHOR_EMAIL": commits,
	"GIT_ALLOW_HTTP": func(t *testing.T) {
		_, repoURL := startGit(t)
		wantRefused(t, with(env(t), "GIT_ALLOW_HTTP", "false"), script("true", "github", github(repoURL)), "github.repoUrl", "plain http")
		startWorker(t, env(t)).post(script("true", "github", github(repoURL))).completed()
	},
	"GIT_ALLOWED_HOSTS": func(t *testing.T) {
		_, repoURL := startGit(t)
		wantRefused(t, with(env(t), "GIT_ALLOWED_HOSTS", ""), script("true", "github", github(repoURL)), "github.repoUrl", "no public address")
		wantRefused(t, with(env(t), "GIT_ALLOWED_HOSTS", "*.example.com"), script("true", "github", github(repoURL)), "github.repoUrl", "not among those")
		startWorker(t, env(t)).post(script("true", "github", github(repoURL))).completed()
	},
	"AGENT_UID": func(t *testing.T) {
		const uid = 12345
		dir, want := t.TempDir(), os.Geteuid()
		if want == 0 {
			dir, want = dirOf(t, uid), uid
		}
		s := startWorker(t, with(env(t), "AGENT_UID", fmt.Sprint(uid), "WORKSPACE_DIR", dir)).post(script("id -u"))
		s.until(says(fmt.Sprintf("%q", fmt.Sprint(want))))
		s.completed()
	},
	"SCRIPT_PROVIDER": func(t *testing.T) {
		wantRefused(t, with(env(t), "SCRIPT_PROVIDER", ""), script("true"), "unsupported_provider", "codingAssistantProvider")
	},
	"SESSION_TTL": func(t *testing.T) {
		vars := env(t)
		startWorker(t, vars).post(script("true", "websiteSessionId", "old")).completed()
		keeping := startWorker(t, vars)
		sweeping := startWorker(t, with(vars, "SESSION_TTL", "1s"))
		waitFor(t, "the session is deleted", func() bool { return strings.Contains(sweeping.logs.String(), "old sessions deleted") })
		wantStatus(t, keeping, "GET", "/sessions/old", http.StatusNotFound)
	},
	"LOG_LEVEL": func(t *testing.T) {
		for _, level := range []string{"debug", "info"} {
			p := startWorker(t, with(env(t), "LOG_LEVEL", level))
			wantStatus(t, p, "GET", "/health", http.StatusOK)
			wantStatus(t, p, "GET", "/sessions", http.StatusOK)
			waitFor(t, "the line of an ordinary request", func() bool { return strings.Contains(p.logs.String(), `"route":"/sessions"`) })
			if got := strings.Contains(p.logs.String(), `"route":"/health"`); got != (level == "debug") {
				t.Errorf("%s: a probe's line is there: %v", level, got)
			}
		}
	},
}

// shownBy are tests that show the effects of other variables.
var shownBy = map[string]string{
	"WORKSPACE_DIR": "TestNothingOfTheJobIsLeft", "STORAGE_DIR": "TestNoSecretLeaves", "MINIO_ENDPOINT": "TestStorageAwayAtTheEnd",
	"GITHUB_ACCESS_TOKEN": "TestOwnTokenGoesToNamedHosts", "GIT_TOKEN_HOSTS": "TestOwnTokenGoesToNamedHosts", "CORS_ORIGINS": "TestPagesOfOtherOrigins",
	"JOB_TIMEOUT": "TestJobTimeout", "IDLE_TIMEOUT": "TestAssistants", "STOP_GRACE": "TestSIGTERM", "MIN_UPTIME": "TestMinUptime",
	"LEASE_TTL": "TestFrozenWorkerIsReplaced", "SAVE_TIMEOUT": "TestStorageAwayAtTheEnd",
	"ANTHROPIC_BASE_URL": "TestClaudeCode", "OPENAI_BASE_URL": "TestAssistants",
}

func TestEveryVariableHasAnEffect(t *testing.T) {
	tests := testSources(t)
	for _, v := range config.Variables() {
		if effect := effects[v.Name]; effect != nil {
			t.Run(v.Name, effect)
			continue
		}
		name, told := shownBy[v.Name]
		if told && !strings.Contains(tests, "func "+name+"(") {
			t.Errorf("%s: there is no %s", v.Name, name)
		}
		if !told && !strings.Contains(tests, `"`+v.Name+`", `) {
			t.Errorf("%s: no test of a worker sets it", v.Name)
		}
	}
}

// testSources are the tests of this package but for this file.
func testSources(t *testing.T) string {
	t.Helper()
	paths, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, path := range paths {
		if path == "variables_test.go" {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(source)
	}
	return all.String()
}

// askStore looks at what a worker asks its store for.
func askStore(t *testing.T) {
	var mu sync.Mutex
	var asked, credential string
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked, credential = r.URL.Path, r.Header.Get("Authorization")
		w.WriteHeader(http.StatusNotFound)
	}))
	defer store.Close()
	base := with(env(t), "MINIO_ENDPOINT", strings.TrimPrefix(store.URL, "http://"), "MINIO_SECRET_KEY", "canary",
		"MINIO_ACCESS_KEY", "some-key", "MINIO_BUCKET", "some-bucket", "MINIO_REGION", "eu-west-3")
	delete(base, "STORAGE_DIR")
	res, err := http.Get(startWorker(t, base).URL + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	mu.Lock()
	defer mu.Unlock()
	if !strings.HasPrefix(asked, "/some-bucket/") || !regexp.MustCompile(`Credential=some-key/\d+/eu-west-3/s3/`).MatchString(credential) {
		t.Errorf("asked for %q as %q", asked, credential)
	}
}

// ownCredential runs a job that names neither provider nor credential.
func ownCredential(t *testing.T) {
	model := modeltest.StartTest(t, modeltest.Turn{Text: "Hello."})
	base := claudeEnv(t, env(t), model)
	request := map[string]any{"userRequest": "Say hello"}
	wantRefused(t, base, request, "codingAssistantProvider")
	base = with(base, "CODING_ASSISTANT_PROVIDER", "claude")
	wantRefused(t, base, request, "codingAssistantAuthentication")
	startWorker(t, with(base, "CODING_ASSISTANT_AUTHENTICATION", modelKey)).post(request).completed()
	if key := lastMessageRequest(t, model).Header.Get("X-Api-Key"); key != modelKey {
		t.Errorf("the model was asked with the key %q", key)
	}
}

// commits looks at the branch and the author of what a worker pushes.
func commits(t *testing.T) {
	host, repoURL := startGit(t)
	author := func(branch string) string {
		return strings.TrimSpace(git(t, host.Dir("acme/site"), "log", "-1", "--format=%an <%ae> %cn <%ce>", branch))
	}
	pushed := func(base map[string]string) string {
		t.Helper()
		return fmt.Sprint(startWorker(t, base).post(script("date +%N > now", "github", github(repoURL))).completed()["branch"])
	}
	branch := pushed(with(env(t), "BRANCH_PREFIX", "bots/aicw", "GIT_AUTHOR_NAME", "Some Bot", "GIT_AUTHOR_EMAIL", "bot@example.com"))
	if got, want := author(branch), "Some Bot <bot@example.com> Some Bot <bot@example.com>"; got != want || !strings.HasPrefix(branch, "bots/aicw/") {
		t.Errorf("%s by %s", branch, got)
	}
	branch = pushed(env(t))
	if got := author(branch); !strings.HasPrefix(got, "AI Coding Worker <aicw@localhost>") || !strings.HasPrefix(branch, "aicw/") {
		t.Errorf("without: %s by %s", branch, got)
	}
}

// endsAtStart runs a worker that refuses to, and says why.
func endsAtStart(t *testing.T, env map[string]string, why string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = []string{"AICW_TEST_MAIN=worker", "PATH=" + os.Getenv("PATH"), "HOST=127.0.0.1", "PORT=0"}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil || !strings.Contains(string(out), why) {
		t.Errorf("%v, and %q is not said:\n%s", err, why, out)
	}
}

// wantRefused posts a request that a worker turns down at once, in these words.
func wantRefused(t *testing.T, base map[string]string, request map[string]any, words ...string) {
	t.Helper()
	status, _, body := startWorker(t, base).tryPost(request)
	if status != http.StatusBadRequest || !json.Valid([]byte(body)) {
		t.Errorf("status %d: %s", status, body)
	}
	for _, word := range words {
		if !strings.Contains(body, word) {
			t.Errorf("%s does not say %q", body, word)
		}
	}
}

func wantStatus(t *testing.T, p *proc, method, path string, status int, header ...string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != status {
		t.Errorf("%s %s: %d, want %d: %s, %v", method, path, res.StatusCode, status, body, err)
	}
}

// dirOf is a directory of a uid of its own, which only that uid can empty.
func dirOf(t *testing.T, uid int) (dir string) {
	t.Helper()
	err := fsuid.Do(uid, func() (err error) {
		dir, err = os.MkdirTemp("/tmp", "aicw-uid-") //nolint:usetesting // t.TempDir is closed to that uid
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fsuid.Do(uid, func() error { return os.RemoveAll(dir) }); err != nil {
			t.Error(err)
		}
	})
	return dir
}
