package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
)

// leaks lists the forms in which a secret stands in a text.
func leaks(text []byte, secrets ...string) []string {
	var found []string
	for _, s := range secrets {
		forms := map[string]string{
			"plain": s, "hex": hex.EncodeToString([]byte(s)), "url": url.QueryEscape(s), "reversed case hex": strings.ToUpper(hex.EncodeToString([]byte(s))),
		}
		for i, pad := range []string{"", "x", "xy"} {
			encoded := base64.StdEncoding.EncodeToString([]byte(pad + s))
			cut := []int{0, 2, 3}[i]
			forms["base64/"+pad] = strings.TrimRight(encoded[cut:len(encoded)-4], "=")
		}
		for name, form := range forms {
			if bytes.Contains(text, []byte(form)) {
				found = append(found, name+" of "+s[:12]+"…")
			}
		}
	}
	return found
}

// printing is a script that prints secrets in every way an agent can, and fails.
func printing(token, key string) string {
	return strings.Join([]string{
		"T=" + token + " M=" + key,
		`echo sentinel-a $T sentinel-b`, `echo $M >&2`, `printf %s $T | base64 -w0; echo`, `printf x$T | base64 -w0; echo`, `printf xy$T | base64 -w0; echo`,
		`printf %s $M | od -An -tx1 | tr -d ' \n'; echo`,
		`for c in $(printf %s $T | fold -w1); do printf %s $c; sleep 0.01; done; echo`,
		`printf '{"key":"%s"}\n' $M`, `exit 4`,
	}, "\n")
}

// TestNoSecretLeaves prints the job's own secrets in every way an agent can, and then searches everything that left the worker.
func TestNoSecretLeaves(t *testing.T) {
	host, _ := startGit(t)
	repoURL := createRepo(t, host, "acme/leaky", map[string]string{"token.txt": "the token is " + gitToken + "\n"})
	base := env(t)
	p := startWorker(t, with(base, "CODING_ASSISTANT_AUTHENTICATION", modelKey, "CODING_ASSISTANT_PROVIDER", "claude"))
	s := p.post(script(printing(gitToken, modelKey), "github", github(repoURL), "websiteSessionId", "leak"))
	s.failed("provider_error")
	p.exited()
	if !strings.Contains(s.raw.String(), "sentinel-a [redacted] sentinel-b") {
		t.Errorf("the words around the secret are gone:\n%s", s)
	}
	// A bad host's words, and an error with the URL in it.
	wrong := startWorker(t, base)
	s2 := wrong.post(script("true", "github", map[string]any{"repoUrl": host.URL() + "/acme/none.git", "accessToken": gitToken}, "websiteSessionId", "leak2"))
	s2.failed("repo_not_found")

	for name, text := range map[string][]byte{
		"stream": s.raw.Bytes(), "log": []byte(p.logs.String()), "second stream": s2.raw.Bytes(), "second log": []byte(wrong.logs.String()),
	} {
		if found := leaks(text, gitToken, modelKey); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
	searchStore(t, base["STORAGE_DIR"], gitToken, modelKey)
}

// searchStore looks into every object; of a snapshot everything but what the agent itself put into the checkout's files and history.
func searchStore(t *testing.T, dir string, secrets ...string) {
	t.Helper()
	objects := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		objects++
		if found := leaks(data, secrets...); len(found) > 0 {
			t.Errorf("%s: %v", path, found)
		}
		return nil
	})
	if err != nil || objects < 3 {
		t.Fatalf("%d objects searched: %v", objects, err)
	}
}

// TestCredentialsAreNotSaved looks for the credentials in the unpacked snapshots of sessions of the real CLIs.
func TestCredentialsAreNotSaved(t *testing.T) {
	t.Parallel()
	const look = "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; grep -r CANARY $HOME . 2>/dev/null; echo looked"
	for _, a := range assistants {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			_, repoURL := startGit(t)
			model := modeltest.StartTest(t, modeltest.Turn{Text: "Looking.", Calls: []modeltest.Call{a.shell(look)}}, modeltest.Turn{Text: "Nothing."})
			base := env(t)
			p := a.worker(t, base, model)
			s := p.post(a.request("Look for secrets", "github", github(repoURL), "websiteSessionId", "saved"))
			s.until(says("looked"))
			s.completed()
			p.exited()
			if strings.Contains(s.raw.String(), "[redacted]") {
				t.Errorf("the agent's tool saw a credential:\n%s", s)
			}
			for _, text := range [][]byte{s.raw.Bytes(), []byte(p.logs.String())} {
				if found := leaks(text, gitToken, modelKey); len(found) > 0 {
					t.Error(found)
				}
			}
			if searched, found := searchSnapshots(t, base["STORAGE_DIR"], gitToken, modelKey); searched != 1 || len(found) > 0 {
				t.Errorf("found in %d snapshots: %v", searched, found)
			}
		})
	}
}

// searchSnapshots unpacks every compressed object of a directory store and says where it found a secret.
func searchSnapshots(t *testing.T, dir string, secrets ...string) (searched int, found []string) {
	t.Helper()
	reader, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(data, []byte("\x28\xb5\x2f\xfd")) {
			return err
		}
		searched++
		plain, err := reader.DecodeAll(data, nil)
		found = append(found, leaks(plain, secrets...)...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return searched, found
}
