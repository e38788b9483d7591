package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

type env map[string]string

func (e env) get(name string) string { return e[name] }

// with returns the smallest good environment and the given variables, in pairs.
func with(pairs ...string) env {
	e := env{"STORAGE_DIR": "/var/lib/sessions"}
	for i := 0; i < len(pairs); i += 2 {
		e[pairs[i]] = pairs[i+1]
	}
	return e
}

func withMinIO(pairs ...string) env {
	return with(append([]string{
		"STORAGE_DIR", "", "MINIO_ENDPOINT", "minio", "MINIO_ACCESS_KEY", "key", "MINIO_SECRET_KEY", "canary-secret",
	}, pairs...)...)
}

var bySecret = cmp.Comparer(func(a, b secret.String) bool { return a.Reveal() == b.Reveal() })

func TestDefaults(t *testing.T) {
	got, err := config.Load(with().get)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Host: "0.0.0.0", Port: 5000, WorkspaceDir: "/workspace", StorageDir: "/var/lib/sessions",
		MinIOBucket: "sessions", MinIORegion: "us-east-1", MaxBodyBytes: 33554432, BranchPrefix: "aicw",
		GitAuthorName: "AI Coding Worker", GitAuthorEmail: "aicw@localhost", GitTimeout: 10 * time.Minute, GitMaxBytes: 2 << 30, AgentUID: 10001,
		Sandbox:    config.Sandbox{Mode: config.SandboxBasic, ClosedPorts: []uint16{80, 2375, 2376, 2377, 5001}},
		JobTimeout: 30 * time.Minute, IdleTimeout: 10 * time.Minute, StopGrace: 30 * time.Second, LeaseTTL: time.Minute, SaveTimeout: 2 * time.Minute,
		LogLevel: zerolog.InfoLevel, MetricsLinger: 15 * time.Second,
	}
	if diff := cmp.Diff(want, got, bySecret); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestEveryVariableIsRead(t *testing.T) {
	given := env{
		"HOST": "127.0.0.1", "PORT": " 8080\n", "WORKSPACE_DIR": "/w", "STATE_DIR": "/s",
		"MINIO_ENDPOINT": "minio.example:9001", "MINIO_PORT": "9002", "MINIO_ACCESS_KEY": "key", "MINIO_SECRET_KEY": "canary\n",
		"MINIO_USE_SSL": "true", "MINIO_BUCKET": "other-bucket", "MINIO_REGION": "eu-west-3",
		"CODING_ASSISTANT_PROVIDER": "claude", "CODING_ASSISTANT_AUTHENTICATION": `{"apiKey":"canary"}`,
		"GITHUB_ACCESS_TOKEN": "ghp_canary", "GIT_TOKEN_HOSTS": "git.example.com, 127.0.0.1:3000", "ANTHROPIC_BASE_URL": "http://127.0.0.1:1234/v", "DB_BASE_URL": "https://db.example/api", "MAX_BODY_BYTES": "1024",
		"BRANCH_PREFIX": "bots/aicw", "GIT_AUTHOR_NAME": "Bot", "GIT_AUTHOR_EMAIL": "bot@example.com", "GIT_ALLOW_HTTP": "1",
		"GIT_ALLOWED_HOSTS": "github.com, *.example.com:8443,,127.0.0.1", "GIT_TIMEOUT": "3m", "GIT_MAX_BYTES": "1000", "AGENT_UID": "500", "JOB_TIMEOUT": "1h", "IDLE_TIMEOUT": "7m", "MIN_UPTIME": "4s",
		"STOP_GRACE": "35m", "LEASE_TTL": "500ms", "SESSION_TTL": "720h", "SAVE_TIMEOUT": "5s", "SCRIPT_PROVIDER": "true", "ALLOW_ANONYMOUS": "true",
		"CORS_ORIGINS": "https://app.example.com,http://localhost:5173",
		"SANDBOX":      "Strict", "SANDBOX_READ": "/srv/tools, /data", "SANDBOX_CLOSED_PORTS": "80, 9000", "SANDBOX_USER_NAMESPACES": "true",
		"LOG_LEVEL":    "DEBUG",
		"METRICS_ADDR": ":9090", "METRICS_LINGER": "0s", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
		"OPENAI_BASE_URL": "http://127.0.0.1:1234/v1", "API_KEYS": "canary-0123456789",
	}
	for _, v := range config.Variables() {
		if given[v.Name] == "" && v.Name != "STORAGE_DIR" { // instead of MinIO
			t.Errorf("%s is not given", v.Name)
		}
	}
	got, err := config.Load(given.get)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Host: "127.0.0.1", Port: 8080, WorkspaceDir: "/w", StateDir: "/s",
		MinIOEndpoint: "minio.example:9002", MinIOAccessKey: secret.New("key"), MinIOSecretKey: secret.New("canary"),
		MinIOUseSSL: true, MinIOBucket: "other-bucket", MinIORegion: "eu-west-3",
		Provider: "claude", Credential: secret.New(`{"apiKey":"canary"}`), GitHubToken: secret.New("ghp_canary"),
		GitTokenHosts:    []string{"git.example.com", "127.0.0.1:3000"},
		OpenAIBaseURL:    "http://127.0.0.1:1234/v1",
		APIKeys:          []secret.String{secret.New("canary-0123456789")},
		AnthropicBaseURL: "http://127.0.0.1:1234/v", ScriptProvider: true, DatabaseURL: "https://db.example/api", MaxBodyBytes: 1024, AllowAnonymous: true,
		CORSOrigins:  []string{"https://app.example.com", "http://localhost:5173"},
		BranchPrefix: "bots/aicw", GitAuthorName: "Bot", GitAuthorEmail: "bot@example.com", GitAllowHTTP: true,
		GitAllowedHosts: []string{"github.com", "*.example.com:8443", "127.0.0.1"}, GitTimeout: 3 * time.Minute, GitMaxBytes: 1000, AgentUID: 500,
		Sandbox:    config.Sandbox{Mode: config.SandboxStrict, Read: []string{"/srv/tools", "/data"}, ClosedPorts: []uint16{80, 9000}, UserNamespaces: true},
		JobTimeout: time.Hour, IdleTimeout: 7 * time.Minute, MinUptime: 4 * time.Second, StopGrace: 35 * time.Minute, LeaseTTL: 500 * time.Millisecond, SessionTTL: 720 * time.Hour, SaveTimeout: 5 * time.Second,
		LogLevel: zerolog.DebugLevel, MetricsAddr: ":9090", TracesURL: "http://collector:4318",
	}
	if diff := cmp.Diff(want, got, bySecret); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMinIOAddress(t *testing.T) {
	cases := []struct {
		endpoint, port, ssl string
		want                string
		tls                 bool
	}{
		{"minio", "", "", "minio:9000", false},
		{"minio", "9001", "", "minio:9001", false},
		{"minio:9001", "", "", "minio:9001", false},
		{"minio:9001", "9002", "true", "minio:9002", true},
		{"http://minio", "", "", "minio:80", false},
		{"http://minio:9000/", "", "", "minio:9000", false},
		{"https://s3.example.com", "", "", "s3.example.com:443", true},
		{"https://s3.example.com:9000", "9001", "true", "s3.example.com:9001", true},
		{"[::1]:9000", "", "", "[::1]:9000", false},
		{"10.0.0.1", "", "false", "10.0.0.1:9000", false},
	}
	for _, c := range cases {
		t.Run(c.endpoint+" "+c.port, func(t *testing.T) {
			got, err := config.Load(withMinIO("MINIO_ENDPOINT", c.endpoint, "MINIO_PORT", c.port, "MINIO_USE_SSL", c.ssl).get)
			if err != nil {
				t.Fatal(err)
			}
			if got.MinIOEndpoint != c.want || got.MinIOUseSSL != c.tls {
				t.Errorf("%s, TLS %v; want %s, %v", got.MinIOEndpoint, got.MinIOUseSSL, c.want, c.tls)
			}
		})
	}
}

func TestAliases(t *testing.T) {
	got, err := config.Load(withMinIO("MINIO_ACCESS_KEY", "", "MINIO_SECRET_KEY", "",
		"MINIO_ROOT_USER", "root", "MINIO_ROOT_PASSWORD", "canary-password", "TMP_DIR", "/tmp/w").get)
	if err != nil {
		t.Fatal(err)
	}
	if got.MinIOAccessKey.Reveal() != "root" || got.MinIOSecretKey.Reveal() != "canary-password" || got.WorkspaceDir != "/tmp/w" {
		t.Errorf("%q, %q, %q", got.MinIOAccessKey.Reveal(), got.MinIOSecretKey.Reveal(), got.WorkspaceDir)
	}
	got, err = config.Load(with("TMP_DIR", "/tmp/w", "WORKSPACE_DIR", "/first").get)
	if err != nil || got.WorkspaceDir != "/first" {
		t.Errorf("the alias won: %q, %v", got.WorkspaceDir, err)
	}
}

// A store on the network whose key everybody knows is refused; on this machine it is a developer's.
func TestKnownSecretOfMinIO(t *testing.T) {
	for _, endpoint := range []string{"minio", "10.0.0.1:9000", "https://s3.example.com"} {
		_, err := config.Load(withMinIO("MINIO_ENDPOINT", endpoint, "MINIO_SECRET_KEY", "minioadmin").get)
		if problem := only(t, err); !strings.HasPrefix(problem, "MINIO_SECRET_KEY is MinIO's own default") {
			t.Errorf("%s: %s", endpoint, problem)
		}
	}
	for _, endpoint := range []string{"localhost", "127.0.0.1:9001", "[::1]:9000"} {
		if _, err := config.Load(withMinIO("MINIO_ENDPOINT", endpoint, "MINIO_SECRET_KEY", "minioadmin").get); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// Each wrong value is refused, and its error names the variable, the value and a way out.
func TestWrongValues(t *testing.T) {
	cases := map[string][]string{
		"HOST":                      {"localhost:5000", "a b", "http://x"},
		"PORT":                      {"http", "-1", "65536", "5000.0", "0x10"},
		"WORKSPACE_DIR":             {"relative", "./x"},
		"STATE_DIR":                 {"relative"},
		"MINIO_PORT":                {"0", "port"},
		"MINIO_ENDPOINT":            {"ftp://minio", "minio/path", "https://minio?x=1", ":9000", "minio:99999", "minio:x", "http://"},
		"MINIO_USE_SSL":             {"maybe"},
		"MINIO_BUCKET":              {"UPPER", "ab", "a..b", "-abc", "with_underscore"},
		"CODING_ASSISTANT_PROVIDER": {"cluade", "claude,codex"},
		"ANTHROPIC_BASE_URL":        {"api.example.com", "file:///x", "https://"},
		"DB_BASE_URL":               {"db.example.com", "ftp://db.example.com", "https://db.example.com?x=1"},
		"METRICS_ADDR":              {"9090", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536", "a b:9090"},
		"METRICS_LINGER":            {"15", "-1s"},

		"OTEL_EXPORTER_OTLP_ENDPOINT": {"collector:4318", "grpc://collector:4317"},
		"MAX_BODY_BYTES":              {"0", "32MiB"},
		"BRANCH_PREFIX":               {"a b", "a..b", "/a", "-a~"},
		"GIT_AUTHOR_NAME":             {"a<b", "a\nb"},
		"GIT_AUTHOR_EMAIL":            {"<bot>"},
		"GIT_ALLOW_HTTP":              {"yes"},
		"CORS_ORIGINS": {
			"*", "null", "app.example.com", "https://app.example.com/", "https://App.example.com", "https://*.example.com", "https://app.example.com:443",
			",", "http://app.example.com:80", "https://app.example.com:", "https://app.example.com?x", "ftp://app.example.com", "https://",
		},
		"GIT_TOKEN_HOSTS":   {", ,", "*", "*.example.com", "https://git.example.com", "git.example.com:0"},
		"GIT_ALLOWED_HOSTS": {",", "[", "https://github.com", "github.com/x"},
		"GIT_TIMEOUT":       {"10", "0s"},
		"GIT_MAX_BYTES":     {"0", "2GiB"},
		"AGENT_UID":         {"0", "root", "-1"},
		"JOB_TIMEOUT":       {"30", "0s", "-1m", "soon"},
		"IDLE_TIMEOUT":      {"10", "0s"},
		"MIN_UPTIME":        {"4", "-1s"},
		"STOP_GRACE":        {"x"}, "LEASE_TTL": {"0"}, "SAVE_TIMEOUT": {"1"}, "SESSION_TTL": {"-1h", "30d"},
		"SANDBOX":                 {"on", "true"},
		"SANDBOX_READ":            {"tools"},
		"SANDBOX_CLOSED_PORTS":    {"0", "http", "80;443", "65536", "none"},
		"SANDBOX_USER_NAMESPACES": {"yes"},

		"SCRIPT_PROVIDER": {"on"}, "ALLOW_ANONYMOUS": {"2"},
		"LOG_LEVEL": {"loud", "panic", "fatal"},
	}
	for name, values := range cases {
		for _, value := range values {
			environment := with(name, value)
			if strings.HasPrefix(name, "MINIO_") {
				environment = withMinIO(name, value)
			}
			_, err := config.Load(environment.get)
			problem := only(t, err)
			if place, _, query := strings.Cut(value, "?"); query {
				value = place + "?[redacted]" // it may hold a secret
			}
			if !strings.HasPrefix(problem, fmt.Sprintf("%s=%q: ", name, value)) {
				t.Errorf("%s=%q: %s", name, value, problem)
			}
		}
	}
}

// only returns the text of an error's one problem.
func only(t *testing.T, err error) string {
	t.Helper()
	var wrong *config.Error
	if !errors.As(err, &wrong) {
		t.Fatalf("error %v, want a *config.Error", err)
	}
	if len(wrong.Problems) != 1 {
		t.Errorf("%d problems, want one: %v", len(wrong.Problems), err)
	}
	return wrong.Problems[0].Error()
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := config.Load(env{"PORT": "x", "JOB_TIMEOUT": "x", "LOG_LEVEL": "x", "CODING_ASSISTANT_AUTHENTICATION": "canary"}.get)
	var wrong *config.Error
	if !errors.As(err, &wrong) || len(wrong.Problems) != 6 {
		t.Fatalf("want six problems, got %v", err)
	}
	for _, name := range []string{"PORT", "JOB_TIMEOUT", "LOG_LEVEL", "MINIO_ENDPOINT", "STORAGE_DIR", "CODING_ASSISTANT_PROVIDER", "ALLOW_ANONYMOUS"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in:\n%v", name, err)
		}
	}
}

func TestStorageIsOneOfTwo(t *testing.T) {
	cases := map[string]struct {
		env  env
		want []string
	}{
		"neither": {with("STORAGE_DIR", ""), []string{"MINIO_ENDPOINT", "STORAGE_DIR"}},
		"both":    {withMinIO("STORAGE_DIR", "/x"), []string{"MINIO_ENDPOINT", "STORAGE_DIR"}},
		"no key":  {withMinIO("MINIO_ACCESS_KEY", ""), []string{"MINIO_ACCESS_KEY", "MINIO_ROOT_USER"}},
		"no secret": {
			withMinIO("MINIO_SECRET_KEY", " "),
			[]string{"MINIO_SECRET_KEY", "MINIO_ROOT_PASSWORD"},
		},
		"TLS or not": {
			withMinIO("MINIO_ENDPOINT", "https://minio", "MINIO_USE_SSL", "false"),
			[]string{"MINIO_ENDPOINT", "MINIO_USE_SSL"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(c.env.get)
			problem := only(t, err)
			for _, want := range c.want {
				if !strings.Contains(problem, want) {
					t.Errorf("%s is not named in: %s", want, problem)
				}
			}
		})
	}
}

func TestFallbackCredentials(t *testing.T) {
	login := []string{"CODING_ASSISTANT_AUTHENTICATION", "canary-key", "CODING_ASSISTANT_PROVIDER", "claude"}
	token := []string{"GITHUB_ACCESS_TOKEN", "canary-token"}
	cases := map[string]struct {
		pairs []string
		want  string // in the error; empty: none
	}{
		"credential for all":      {login, "CODING_ASSISTANT_AUTHENTICATION: anybody"},
		"token for all":           {token, "GITHUB_ACCESS_TOKEN: anybody"},
		"an address of the host":  {append(token, "HOST", "10.0.0.1"), "HOST=10.0.0.1"},
		"every IPv6 address":      {append(token, "HOST", "::"), "GITHUB_ACCESS_TOKEN"},
		"loopback":                {append(login, "HOST", "127.0.0.1"), ""},
		"loopback network":        {append(login, "HOST", "127.8.9.1"), ""},
		"IPv6 loopback":           {append(token, "HOST", "::1"), ""},
		"localhost":               {append(token, "HOST", "localhost"), ""},
		"allowed":                 {append(login, "ALLOW_ANONYMOUS", "true"), ""},
		"behind a key":            {append(login, "API_KEYS", "canary-0123456789"), ""},
		"provider alone":          {login[2:], ""},
		"credential for no one":   {append(login[:2:2], "HOST", "127.0.0.1"), "CODING_ASSISTANT_PROVIDER"},
		"localhost by a trick":    {append(token, "HOST", "localhost.example.com"), "GITHUB_ACCESS_TOKEN"},
		"not allowed in so many ": {append(token, "ALLOW_ANONYMOUS", "false"), "ALLOW_ANONYMOUS"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(with(c.pairs...).get)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if problem := only(t, err); !strings.Contains(problem, c.want) || strings.Contains(problem, "canary") {
				t.Errorf("problem: %s; want %q in it, and no secret", problem, c.want)
			}
		})
	}
}

func TestNoSecretIsPrinted(t *testing.T) {
	_, err := config.Load(withMinIO("MINIO_ENDPOINT", "https://user:canary@minio/x", "PORT", "x",
		"ANTHROPIC_BASE_URL", "https://canary:canary@api.example.com", "DB_BASE_URL", "https://db.example.com?key=canary",
		"GIT_ALLOWED_HOSTS", "https://user:canary@git.example.com", "CORS_ORIGINS", "https://app.example.com?canary").get)
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("error: %v", err)
	}
	cfg, err := config.Load(withMinIO().get)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{fmt.Sprint(cfg), fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", cfg)} {
		if strings.Contains(printed, "canary") {
			t.Errorf("a secret is printed: %s", printed)
		}
	}
}

// The table documents itself: every line has a text, no name stands twice, and every default is a good value.
func TestVariables(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range config.Variables() {
		if v.Name == "" || v.Doc == "" {
			t.Errorf("%+v lacks its name or text", v)
		}
		for _, name := range []string{v.Name, v.Alias} {
			if name != "" && seen[name] {
				t.Errorf("%s stands twice", name)
			}
			seen[name] = true
		}
		if v.Secret && v.Default != "" {
			t.Errorf("%s is a secret with a default", v.Name)
		}
		if v.Default == "" {
			continue
		}
		given, err := config.Load(with(v.Name, v.Default).get)
		if err != nil {
			t.Errorf("the default of %s: %v", v.Name, err)
		}
		none, err := config.Load(with().get)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(none, given, bySecret); diff != "" {
			t.Errorf("the default of %s, given: (-not given +given)\n%s", v.Name, diff)
		}
	}
	if len(seen) < 30 {
		t.Errorf("only %d names", len(seen))
	}
}
