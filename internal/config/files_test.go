package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
)

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every secret can stand in a file.
func TestSecretFiles(t *testing.T) {
	given := env{"MINIO_ENDPOINT": "minio:9000", "CODING_ASSISTANT_PROVIDER": "claude"}
	for _, v := range config.Variables() {
		if v.Secret {
			given[v.Name+"_FILE"] = file(t, "canary-of-"+v.Name+"\n")
		}
	}
	cfg, err := config.Load(given.get)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{
		"MINIO_ACCESS_KEY": cfg.MinIOAccessKey.Reveal(), "MINIO_SECRET_KEY": cfg.MinIOSecretKey.Reveal(),
		"CODING_ASSISTANT_AUTHENTICATION": cfg.Credential.Reveal(), "GITHUB_ACCESS_TOKEN": cfg.GitHubToken.Reveal(),
		"API_KEYS": cfg.APIKeys[0].Reveal(),
	} {
		if want := "canary-of-" + name; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestSecretFilesThatCannotBeUsed(t *testing.T) {
	for name, c := range map[string]struct {
		pairs []string
		want  []string
	}{
		"missing":         {[]string{"API_KEYS_FILE", "/nowhere/key"}, []string{"API_KEYS_FILE", "/nowhere/key: no such file"}},
		"empty":           {[]string{"API_KEYS_FILE", file(t, " \n")}, []string{"API_KEYS_FILE", "is empty"}},
		"a folder":        {[]string{"API_KEYS_FILE", t.TempDir()}, []string{"API_KEYS_FILE", "is a directory"}},
		"no secret":       {[]string{"API_KEYS_FILE", "/proc/self/exe"}, []string{"API_KEYS_FILE", "more than"}},
		"both forms":      {[]string{"API_KEYS_FILE", file(t, "x"), "API_KEYS", "canary-0123456789"}, []string{"API_KEYS_FILE and API_KEYS", "drop one"}},
		"with the alias":  {[]string{"MINIO_ACCESS_KEY_FILE", file(t, "x"), "MINIO_ROOT_USER", "canary"}, []string{"MINIO_ACCESS_KEY_FILE and MINIO_ROOT_USER"}},
		"a bad value":     {[]string{"API_KEYS_FILE", file(t, "canary")}, []string{"API_KEYS_FILE: key 1"}},
		"a key too short": {[]string{"API_KEYS", "canary-0123456789,canary"}, []string{"API_KEYS: key 2", "16"}},
		"no key":          {[]string{"API_KEYS", " , \n,"}, []string{"API_KEYS: ", "nothing"}},
		"an odd key":      {[]string{"API_KEYS", "canary-0123456789-\u00e9"}, []string{"API_KEYS: key 1", "printable"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(with(c.pairs...).get)
			problem := only(t, err)
			for _, want := range c.want {
				if !strings.Contains(problem, want) {
					t.Errorf("problem %q lacks %q", problem, want)
				}
			}
			if strings.Contains(problem, "canary") {
				t.Errorf("a secret is printed: %s", problem)
			}
		})
	}
}

func TestAPIKeys(t *testing.T) {
	cfg, err := config.Load(with("API_KEYS", " first-0123456789, second-0123456789\nthird-0123456789,\n").get)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, key := range cfg.APIKeys {
		got = append(got, key.Reveal())
	}
	if want := "first-0123456789 second-0123456789 third-0123456789"; strings.Join(got, " ") != want {
		t.Errorf("keys %q, want %q", got, want)
	}
}
