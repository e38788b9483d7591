package worker

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
)

// errNoSandbox refuses a worker that must have what its kernel has not.
var errNoSandbox = errors.New("this kernel lacks layers of the agent's sandbox, and SANDBOX=strict asks for all of them")

// checkSandbox says once what the agent's sandbox lacks here.
func checkSandbox(cfg config.Sandbox, log zerolog.Logger) error {
	missing := sandbox.Missing()
	switch {
	case cfg.Mode == config.SandboxOff:
		log.Warn().Msg("SANDBOX=off: the agent can do whatever its user may")
	case len(missing) > 0 && cfg.Mode == config.SandboxStrict:
		return fmt.Errorf("%w: %v", errNoSandbox, missing)
	case len(missing) > 0:
		log.Warn().Strs("missing", words(missing)).Msg("the kernel lacks layers of the agent's sandbox")
	}
	return nil
}

// told is what others may know of the sandbox.
func told(cfg config.Sandbox) httpapi.Sandbox {
	return httpapi.Sandbox{Mode: cfg.Mode, Missing: words(sandbox.Missing())}
}

func words(layers []sandbox.Layer) []string {
	all := make([]string, len(layers))
	for i, l := range layers {
		all[i] = string(l)
	}
	return all
}

// policy is what the sandbox leaves to the agent of a worker that listens at the addresses; nil where there is none.
func policy(cfg config.Config, path string, addrs ...net.Addr) *sandbox.Policy {
	if cfg.Sandbox.Mode == config.SandboxOff {
		return nil
	}
	return &sandbox.Policy{
		Read:           slices.Concat(systemFolders(), toolFolders(path), cfg.Sandbox.Read),
		Write:          []string{cfg.WorkspaceDir},
		ClosedPorts:    closedPorts(cfg, addrs),
		UserNamespaces: cfg.Sandbox.UserNamespaces,
	}
}

// systemFolders are where programs, libraries and their settings lie, and the names of hosts.
func systemFolders() []string {
	folders := []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/etc", "/opt", "/nix", "/gnu", "/snap"}
	if resolver, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil {
		folders = append(folders, filepath.Dir(resolver))
	}
	return folders
}

// toolFolders are those of a PATH, and where the assistants' files really lie. What is beside a folder for programs belongs
// to them, unless that is somebody's home.
func toolFolders(path string) (folders []string) {
	for _, dir := range filepath.SplitList(path) {
		folders = append(folders, beside(dir))
	}
	for _, tool := range []string{"claude", "codex", "git"} {
		if file, err := filepath.EvalSymlinks(agentproc.LookPath(tool, path)); err == nil && file != "" {
			folders = append(folders, beside(filepath.Dir(file)))
		}
	}
	return slices.DeleteFunc(folders, func(dir string) bool { return !filepath.IsAbs(dir) })
}

func beside(dir string) string {
	dir = filepath.Clean(dir)
	parent := filepath.Dir(dir)
	programs := slices.Contains([]string{"bin", "sbin", ".bin", "shims"}, filepath.Base(dir))
	if !programs || slices.Contains([]string{"/", "/root", "/home"}, parent) || filepath.Dir(parent) == "/home" {
		return dir
	}
	return parent
}

// closedPorts are those that are configured and those of the worker's own business, but for 443, behind which everything is.
// What the assistants need stays open.
func closedPorts(cfg config.Config, addrs []net.Addr) []uint16 {
	var closed []uint16
	for _, addr := range addrs {
		if own, ok := addr.(*net.TCPAddr); ok {
			closed = append(closed, uint16(own.Port))
		}
	}
	if _, port, err := net.SplitHostPort(cfg.MinIOEndpoint); err == nil {
		closed = append(closed, number(port)...)
	}
	closed = append(closed, portOf(cfg.TracesURL)...)
	closed = slices.DeleteFunc(closed, func(port uint16) bool { return port == 443 })
	open := append(portOf(cfg.AnthropicBaseURL), portOf(cfg.OpenAIBaseURL)...)
	return slices.DeleteFunc(append(closed, cfg.Sandbox.ClosedPorts...), func(port uint16) bool { return slices.Contains(open, port) })
}

// portOf is the port to which a URL leads; none for an empty one.
func portOf(raw string) []uint16 {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return nil
	}
	if u.Port() == "" {
		return map[string][]uint16{"http": {80}, "https": {443}}[u.Scheme]
	}
	return number(u.Port())
}

func number(port string) []uint16 {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil
	}
	return []uint16{uint16(n)}
}
