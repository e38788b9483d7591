package worker

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
)

func TestClosedPorts(t *testing.T) {
	at := func(ports ...int) (addrs []net.Addr) {
		for _, port := range ports {
			addrs = append(addrs, &net.TCPAddr{Port: port})
		}
		return addrs
	}
	for name, row := range map[string]struct {
		cfg  config.Config
		at   []net.Addr
		want []uint16
	}{
		"a fleet's worker": {
			config.Config{MinIOEndpoint: "minio:9000", TracesURL: "http://collector:4318"},
			at(5000, 9090),
			[]uint16{80, 4318, 5000, 5001, 9000, 9090},
		},
		"no metrics":                        {config.Config{}, append(at(5000), nil), []uint16{80, 5000, 5001}},
		"MinIO and traces among all others": {config.Config{MinIOEndpoint: "s3.example.com:443", TracesURL: "https://collector"}, at(443), []uint16{80, 5001}},
		"443 by the operator's own wish":    {config.Config{Sandbox: config.Sandbox{ClosedPorts: []uint16{443}}}, at(5000), []uint16{443, 5000}},
		"a model's API on closed ports": {
			config.Config{AnthropicBaseURL: "http://gateway", OpenAIBaseURL: "http://gateway:5001/v1"},
			at(5000),
			[]uint16{5000},
		},
	} {
		if row.cfg.Sandbox.ClosedPorts == nil {
			row.cfg.Sandbox.ClosedPorts = []uint16{80, 5001}
		}
		got := closedPorts(row.cfg, row.at)
		slices.Sort(got)
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestToolFolders(t *testing.T) {
	home := t.TempDir()
	versions, bin := filepath.Join(home, "share", "claude", "versions"), filepath.Join(home, "local", "bin")
	for _, dir := range []string{versions, bin} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(versions, "2.1"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(versions, "2.1"), filepath.Join(bin, "claude")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/usr/local/bin:/usr/sbin":          {"/usr/local", "/usr"},
		"/bin:/sbin":                        {"/bin", "/sbin"},
		"/root/bin:/home/me/bin:/home/bin":  {"/root/bin", "/home/me/bin", "/home/bin"},
		"/home/me/.local/bin:/opt/tools":    {"/home/me/.local", "/opt/tools"},
		"/root/.pyenv/shims:/w/x/.bin/":     {"/root/.pyenv", "/w/x"},
		":bin:./node_modules/.bin":          nil,
		bin:                                 {filepath.Dir(bin), versions},
		"/nowhere/node_modules/.bin:/a//b/": {"/nowhere/node_modules", "/a/b"},
	} {
		got := toolFolders(path)
		if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		if want == nil && slices.ContainsFunc(got, func(dir string) bool { return !filepath.IsAbs(dir) }) {
			t.Errorf("%s: %q: a folder that depends on where the worker is started", path, got)
		}
	}
}
