package githost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	identity = "Githost <githost@example.invalid>"
	epoch    = 1_700_000_000 // of every commit, so that the same files have the same hashes

	gitTimeout = 2 * time.Minute // of one git in a repository; a slow machine needs seconds
)

// gitEnv keeps git from the user's and the machine's own settings.
func gitEnv(git string) []string {
	return []string{
		"PATH=" + filepath.Dir(git) + ":/usr/local/bin:/usr/bin:/bin", "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
	}
}

// Create makes a repository whose branch main has one commit with these files, by slash path. Without files it stays
// empty. A name may have slashes, as owner/name. It returns the URL to clone from.
func (h *Host) Create(name string, files map[string]string) (string, error) {
	dir := h.Dir(name)
	if _, err := os.Stat(dir); err == nil {
		return "", fmt.Errorf("create repository %s: %w", name, fs.ErrExist)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("create repository %s: %w", name, err)
	}
	if _, err := h.run(h.dir, nil, "init", "-q", "--bare", "--initial-branch=main", dir); err != nil {
		return "", fmt.Errorf("create repository %s: %w", name, err)
	}
	// Pushes need either a user name in the CGI environment or this; whether they are allowed the host itself decides.
	for _, setting := range []string{"http.receivepack", "uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"} {
		if _, err := h.Git(name, "config", setting, "true"); err != nil {
			return "", fmt.Errorf("create repository %s: %w", name, err)
		}
	}
	if len(files) > 0 {
		if _, err := h.Commit(name, "main", "Initial commit", files); err != nil {
			return "", err
		}
	}
	return h.CloneURL(name), nil
}

// CreateFS is Create with the regular files of a file system, exec bits and symlinks aside.
func (h *Host) CreateFS(name string, files fs.FS) (string, error) {
	contents := map[string]string{}
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		contents[path] = string(data)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("create repository %s: %w", name, err)
	}
	return h.Create(name, contents)
}

// Commit adds a commit on a branch, made from main where it is new: these files are written over what is there. It
// returns the commit's hash.
func (h *Host) Commit(name, branch, message string, files map[string]string) (string, error) {
	var stream bytes.Buffer
	ref := "refs/heads/" + branch
	fmt.Fprintf(&stream, "commit %s\ncommitter %s %d +0000\ndata %d\n%s\n", ref, identity, epoch, len(message), message)
	if parent := h.parent(name, branch); parent != "" {
		fmt.Fprintf(&stream, "from %s\n", parent)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&stream, "M 100644 inline %s\ndata %d\n%s\n", quote(path), len(files[path]), files[path])
	}
	if _, err := h.run(h.Dir(name), &stream, "fast-import", "--quiet", "--date-format=raw"); err != nil {
		return "", fmt.Errorf("commit to %s: %w", name, err)
	}
	return h.Git(name, "rev-parse", ref)
}

func (h *Host) parent(name, branch string) string {
	for _, ref := range []string{"refs/heads/" + branch, "refs/heads/main"} {
		if hash, err := h.Git(name, "rev-parse", "--verify", "-q", ref); err == nil {
			return hash
		}
	}
	return ""
}

// Refuse lets a repository's pre-receive hook turn every push down with these words on its stderr; empty words let
// pushes in again.
func (h *Host) Refuse(name, words string) error {
	hook := filepath.Join(h.Dir(name), "hooks", "pre-receive")
	if words == "" {
		if err := os.Remove(hook); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("allow pushes to %s: %w", name, err)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		return fmt.Errorf("refuse pushes to %s: %w", name, err)
	}
	script := "#!/bin/sh\ncat >/dev/null\nprintf '%s\\n' '" + strings.ReplaceAll(words, "'", `'\''`) + "' >&2\nexit 1\n"
	if err := os.WriteFile(hook, []byte(script), 0o755); err != nil {
		return fmt.Errorf("refuse pushes to %s: %w", name, err)
	}
	return nil
}

// Protect lets a repository turn down every push to branches that match a shell pattern, as aicw/*, with these words. It
// is the host's rule beside the hook of Refuse, and stays.
func (h *Host) Protect(name, pattern, words string) error {
	hook := filepath.Join(h.Dir(name), "hooks", "update")
	script := "#!/bin/sh\ncase \"$1\" in refs/heads/" + pattern + ") printf '%s\\n' '" + strings.ReplaceAll(words, "'", `'\''`) + "' >&2; exit 1;; esac\n"
	if err := errors.Join(os.MkdirAll(filepath.Dir(hook), 0o755), os.WriteFile(hook, []byte(script), 0o755)); err != nil {
		return fmt.Errorf("protect branches of %s: %w", name, err)
	}
	return nil
}

// Git runs git in a bare repository and returns what it printed, without surrounding white space.
func (h *Host) Git(name string, args ...string) (string, error) {
	return h.run(h.Dir(name), nil, args...)
}

func (h *Host) run(dir string, stdin *bytes.Buffer, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.git, args...)
	cmd.Dir = dir
	cmd.Env = append(gitEnv(h.git),
		"GIT_AUTHOR_NAME=Githost", "GIT_AUTHOR_EMAIL=githost@example.invalid",
		"GIT_COMMITTER_NAME=Githost", "GIT_COMMITTER_EMAIL=githost@example.invalid")
	if stdin != nil {
		cmd.Stdin = stdin
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// quote writes a path as fast-import reads it.
func quote(path string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(path) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ':
			fmt.Fprintf(&b, "\\%03o", c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
