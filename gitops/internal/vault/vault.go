// Package vault is the worker's own bare repository: a place for objects between a git host and an agent's checkout, in
// which git runs as the worker because nothing but this package writes there. Every pack that comes in is checked
// before it counts.
package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// ErrBadPack says that git found the objects of a pack broken, forbidden or incomplete.
var ErrBadPack = errors.New("git refused the objects")

// Vault is one repository. Its methods are safe for concurrent use, but for SetShallow and Close.
type Vault struct {
	dir    string
	git    string
	memory int64
}

// ErrNoGit says that the git command is not installed.
var ErrNoGit = errors.New("git is not on the PATH")

// Create makes an empty vault in a directory of its own below parent, closed to everybody else. Its git is looked for in
// path, as agentproc.LookPath does, and may allocate memory bytes.
func Create(parent, path string, memory int64) (*Vault, error) {
	git := agentproc.LookPath("git", path)
	if git == "" {
		return nil, fmt.Errorf("create vault: %w", ErrNoGit)
	}
	dir, err := os.MkdirTemp(parent, "vault-")
	if err != nil {
		return nil, fmt.Errorf("create vault: %w", err)
	}
	v := &Vault{dir: dir, git: git, memory: memory}
	if err := v.layOut(); err != nil {
		return nil, errors.Join(fmt.Errorf("create vault: %w", err), v.Close())
	}
	return v, nil
}

// BigFile is the size from which git reads and writes a file piece by piece instead of having all of it in memory.
const BigFile = "32m"

func (v *Vault) layOut() error {
	for _, dir := range []string{"objects/pack", "objects/info", "refs/heads"} {
		if err := os.MkdirAll(filepath.Join(v.dir, dir), 0o700); err != nil {
			return err
		}
	}
	files := map[string]string{
		"HEAD":   "ref: refs/heads/vault\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tbigFileThreshold = " + BigFile + "\n[gc]\n\tauto = 0\n",
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(v.dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Address is a vault as another process of this program can Open it.
type Address struct {
	Dir, Git string
	Memory   int64
}

// Address returns the vault's.
func (v *Vault) Address() Address { return Address{Dir: v.dir, Git: v.git, Memory: v.memory} }

// Open is a vault that another process has made and closes.
func Open(a Address) *Vault { return &Vault{dir: a.Dir, git: a.Git, memory: a.Memory} }

// Close removes the vault.
func (v *Vault) Close() error { return os.RemoveAll(v.dir) }

var (
	hashForm     = regexp.MustCompile(`^[0-9a-f]{40}$`)
	packNameForm = regexp.MustCompile(`^pack-[0-9a-f]{40}$`)
)

// IsHash reports whether s is the full name of an object.
func IsHash(s string) bool { return hashForm.MatchString(s) }

// SetShallow replaces the list of commits whose parents need not be there. It must stand before a pack with such a
// commit is indexed.
func (v *Vault) SetShallow(commits []string) error {
	if err := checkHashes(commits); err != nil {
		return fmt.Errorf("set shallow commits: %w", err)
	}
	path := filepath.Join(v.dir, "shallow")
	if len(commits) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("set shallow commits: %w", err)
		}
		return nil
	}
	if err := os.WriteFile(path, []byte(Lines(commits)), 0o600); err != nil {
		return fmt.Errorf("set shallow commits: %w", err)
	}
	return nil
}

// Shallows returns what SetShallow was given last.
func (v *Vault) Shallows() ([]string, error) {
	data, err := os.ReadFile(filepath.Join(v.dir, "shallow"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read shallow commits: %w", err)
	}
	return strings.Fields(string(data)), nil
}

// Lines writes commits as git's list of shallow ones has them.
func Lines(commits []string) string { return strings.Join(commits, "\n") + "\n" }

func checkHashes(list []string) error {
	if i := slices.IndexFunc(list, func(s string) bool { return !IsHash(s) }); i >= 0 {
		return fmt.Errorf("%.60q is no commit", list[i])
	}
	return nil
}

// tolerated are the faults of old commits that no host minds and no checkout suffers from; everything else that git's
// fsck knows is refused.
const tolerated = "--strict=badDate=ignore,badDateOverflow=ignore,badTimezone=ignore,badEmail=ignore,badName=ignore," +
	"missingEmail=ignore,missingNameBeforeEmail=ignore,missingSpaceBeforeDate=ignore,missingSpaceBeforeEmail=ignore," +
	"multipleAuthors=ignore,zeroPaddedFilemode=ignore"

// Index reads a pack, checks each object and that all they refer to is there, and keeps it under the name that is
// returned. A thin pack may build on what the vault has. Over limit bytes it is ErrLimit, and so is one that git has not
// the memory for. Progress gets git's own words.
func (v *Vault) Index(ctx context.Context, pack io.Reader, thin bool, limit int64, progress io.Writer) (string, error) {
	args := []string{"index-pack", "--stdin", tolerated, "-v"}
	if thin {
		args = append(args, "--fix-thin")
	}
	var out bytes.Buffer
	source := &capped{Reader: pack, limit: limit}
	err := v.run(ctx, command{args: args, stdin: source, stdout: &out, stderr: progress})
	var exit *agentproc.ExitError
	switch {
	case source.beyond.Load() && ctx.Err() == nil:
		return "", source.err()
	case RanOut(err):
		return "", fmt.Errorf("%w: git needs more memory than it may have: %w", ErrLimit, err)
	case errors.As(err, &exit):
		return "", fmt.Errorf("%w: %s%w", ErrBadPack, culprit(exit.Stderr), err)
	case err != nil:
		return "", fmt.Errorf("index pack: %w", err)
	}
	_, hash, _ := strings.Cut(strings.TrimSpace(out.String()), "\t")
	name := "pack-" + hash
	if !packNameForm.MatchString(name) {
		return "", fmt.Errorf("index pack: git printed %.60q", out.String())
	}
	return name, nil
}

// PackFiles are the extensions of the files that make up an indexed pack; the last one makes it visible to git.
var PackFiles = []string{".pack", ".idx"}

// Packs returns the names of all indexed packs.
func (v *Vault) Packs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(v.dir, "objects", "pack"))
	if err != nil {
		return nil, fmt.Errorf("list packs: %w", err)
	}
	var packs []string
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), ".idx"); ok && packNameForm.MatchString(name) {
			packs = append(packs, name)
		}
	}
	return packs, nil
}

// OpenPack opens one file of an indexed pack.
func (v *Vault) OpenPack(name, ext string) (*os.File, error) {
	if !packNameForm.MatchString(name) || !slices.Contains(PackFiles, ext) {
		return nil, fmt.Errorf("open pack: %.60q is none", name+ext)
	}
	return os.Open(filepath.Join(v.dir, "objects", "pack", name+ext))
}

// Commits returns those of the names that are commits in the vault.
func (v *Vault) Commits(ctx context.Context, names []string) ([]string, error) {
	if err := checkHashes(names); err != nil {
		return nil, fmt.Errorf("look for commits: %w", err)
	}
	if len(names) == 0 {
		return nil, nil
	}
	var out bytes.Buffer
	err := v.run(ctx, command{
		args:  []string{"cat-file", "--batch-check=%(objectname) %(objecttype)"},
		stdin: strings.NewReader(strings.Join(names, "\n") + "\n"), stdout: &out,
	})
	if err != nil {
		return nil, fmt.Errorf("look for commits: %w", err)
	}
	var found []string
	for _, line := range strings.Split(out.String(), "\n") {
		if hash, ok := strings.CutSuffix(line, " commit"); ok {
			found = append(found, hash)
		}
	}
	return found, nil
}

// IsAncestor reports whether the commit old can be reached from the commit young; both must be in the vault.
func (v *Vault) IsAncestor(ctx context.Context, old, young string) (bool, error) {
	if err := checkHashes([]string{old, young}); err != nil {
		return false, fmt.Errorf("compare commits: %w", err)
	}
	err := v.run(ctx, command{args: []string{"merge-base", "--is-ancestor", old, young}})
	var exit *agentproc.ExitError
	if errors.As(err, &exit) && exit.Code == 1 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("compare commits: %w", err)
	}
	return true, nil
}

// Pack writes a pack of what the commit reaches and have does not into a file, positioned at its start. The file has no
// name any more, so closing it is all that is left to do.
func (v *Vault) Pack(ctx context.Context, commit string, have []string) (*os.File, error) {
	if err := checkHashes(append([]string{commit}, have...)); err != nil {
		return nil, fmt.Errorf("make pack: %w", err)
	}
	file, err := os.CreateTemp(v.dir, "push-")
	if err != nil {
		return nil, fmt.Errorf("make pack: %w", err)
	}
	err = errors.Join(
		os.Remove(file.Name()),
		v.run(ctx, command{args: PackObjects(), stdin: strings.NewReader(Revisions(commit, have)), stdout: file}),
	)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make pack: %w", err), file.Close())
	}
	return file, nil
}

// PackObjects is the git command that writes a pack to stdout, of what Revisions on its stdin say.
func PackObjects() []string {
	return []string{"pack-objects", "--revs", "--stdout", "-q", "--thin", "--delta-base-offset"}
}

// Revisions asks PackObjects for what a commit reaches and have does not.
func Revisions(commit string, have []string) string {
	var b strings.Builder
	b.WriteString(commit + "\n")
	for _, h := range have {
		b.WriteString("^" + h + "\n")
	}
	return b.String()
}
