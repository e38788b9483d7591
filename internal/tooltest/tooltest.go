// Package tooltest finds the tools that scripts/tools.sh installs for the tests: real servers and real command
// lines, pinned, in a cache outside the source tree.
package tooltest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// folders says where below the cache each tool lies; scripts/tools.sh must agree.
var folders = map[string]string{
	"minio":         "minio-20260212",
	"claude":        "claude-2.1.197",
	"codex":         "codex-0.169.0",
	"golangci-lint": "golangci-lint-2.15.0",
}

// Path returns the absolute path of an installed tool: "minio", "claude", "codex" or "golangci-lint".
// A tool that is not there fails the test, and never skips it.
func Path(t testing.TB, name string) string {
	t.Helper()
	path, err := find(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func find(name string) (string, error) {
	folder, ok := folders[name]
	if !ok {
		return "", fmt.Errorf("tooltest knows no tool %q", name)
	}
	root, err := cache()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, folder, "bin", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not installed: run scripts/tools.sh (%w)", name, err)
	}
	return path, nil
}

// cache is AICW_CACHE, else /var/cache for root and the home directory's for others, as in scripts/tools.sh.
func cache() (string, error) {
	if dir := os.Getenv("AICW_CACHE"); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", fmt.Errorf("AICW_CACHE=%s: write an absolute path", dir)
		}
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/ai-coding-worker", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the cache of the tools: %w", err)
	}
	return filepath.Join(home, ".cache", "ai-coding-worker"), nil
}
