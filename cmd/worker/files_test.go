package main

import (
	"encoding/json"
	"net/http"
	"testing"
)

// TestFilesOfASavedSession asks a worker that did not run the job for what it saved.
func TestFilesOfASavedSession(t *testing.T) {
	_, repoURL := startGit(t)
	base := minioEnv(t)
	first := startWorker(t, base)
	first.post(script("mkdir notes && echo hello > notes/hello.txt && ln -s notes/hello.txt latest", "github", github(repoURL), "websiteSessionId", "s")).completed()
	first.exited()

	other := startWorker(t, base)
	res, err := http.Get(other.URL + "/sessions/s/files")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var listed struct {
		Files []struct {
			Path, Type, Target string
			Size               int
		}
		FileCount int
	}
	if err := json.NewDecoder(res.Body).Decode(&listed); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %v", res.StatusCode, err)
	}
	if listed.FileCount != len(listed.Files) {
		t.Errorf("%d files, counted as %d", len(listed.Files), listed.FileCount)
	}
	types := make(map[string]string)
	for _, f := range listed.Files {
		types[f.Path] = f.Type
		if f.Path == "checkout/site/notes/hello.txt" && f.Size != 6 || f.Path == "checkout/site/latest" && f.Target != "notes/hello.txt" {
			t.Errorf("%+v", f)
		}
	}
	for path, want := range map[string]string{
		"checkout/site/notes": "directory", "checkout/site/notes/hello.txt": "file", "checkout/site/latest": "symlink", "checkout/site/README.md": "file",
	} {
		if types[path] != want {
			t.Errorf("%s is told as %q, want %q", path, types[path], want)
		}
	}
}
