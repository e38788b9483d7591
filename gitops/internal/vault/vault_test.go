package vault_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
)

const plenty = 1 << 30 // bytes

func newVault(t *testing.T) *vault.Vault {
	t.Helper()
	v, err := vault.Create(t.TempDir(), "", plenty)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// history is three commits on a host.
type history struct {
	host    *githost.Host
	commits []string
}

func newHistory(t *testing.T) history {
	t.Helper()
	host, err := githost.Start(githost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	if _, err := host.Create("r", nil); err != nil {
		t.Fatal(err)
	}
	h := history{host: host}
	for _, content := range []string{"1", "2", "3"} {
		hash, err := host.Commit("r", "main", content, map[string]string{"f": content})
		if err != nil {
			t.Fatal(err)
		}
		h.commits = append(h.commits, hash)
	}
	return h
}

// newVaultFrom makes a vault with everything that the host has.
func newVaultFrom(t *testing.T, h history) *vault.Vault {
	t.Helper()
	v := newVault(t)
	if _, err := v.Index(t.Context(), bytes.NewReader(h.pack(t)), false, plenty, nil); err != nil {
		t.Fatal(err)
	}
	return v
}

// pack is everything that the host has.
func (h history) pack(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	if _, err := h.host.Git("r", "bundle", "create", dir+"/b", "main"); err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(dir + "/b")
	if err != nil {
		t.Fatal(err)
	}
	_, pack, _ := bytes.Cut(bundle, []byte("\n\n"))
	return pack
}

// TestIndexWithoutMemory indexes what git has to have in memory as a whole: a commit's message.
func TestIndexWithoutMemory(t *testing.T) {
	h := newHistory(t)
	if _, err := h.host.Commit("r", "main", strings.Repeat("long ", 16_000_000), nil); err != nil {
		t.Fatal(err)
	}
	pack := h.pack(t)
	for memory, fits := range map[int64]bool{60 << 20: false, plenty: true} {
		v, err := vault.Create(t.TempDir(), "", memory)
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Index(t.Context(), bytes.NewReader(pack), false, plenty, nil)
		if fits && err != nil || !fits && !errors.Is(err, vault.ErrLimit) {
			t.Errorf("with %d bytes of memory: %v", memory, err)
		}
	}
}

func TestWithoutGit(t *testing.T) {
	parent := t.TempDir()
	if _, err := vault.Create(parent, parent, plenty); !errors.Is(err, vault.ErrNoGit) {
		t.Errorf("create: %v", err)
	}
}

func TestMeasure(t *testing.T) {
	h := newHistory(t)
	commit, err := h.host.Commit("r", "main", "more", map[string]string{"dir/a": "1234", "dir/b": "5678"})
	if err != nil {
		t.Fatal(err)
	}
	v := newVaultFrom(t, h)
	for name, tt := range map[string]struct {
		limits vault.Limits
		fits   bool
	}{
		"just so":        {vault.Limits{Files: 3, Bytes: 9}, true},
		"a file too few": {vault.Limits{Files: 2, Bytes: 9}, false},
		"a byte too few": {vault.Limits{Files: 3, Bytes: 8}, false},
	} {
		if err := v.Measure(t.Context(), commit, tt.limits); tt.fits && err != nil || !tt.fits && !errors.Is(err, vault.ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := v.Measure(t.Context(), strings.Repeat("1", 40), vault.Limits{Files: 3, Bytes: 9}); err == nil || errors.Is(err, vault.ErrLimit) {
		t.Errorf("a commit that is not there: %v", err)
	}
}

func TestVaultIsClosedToOthers(t *testing.T) {
	parent := t.TempDir()
	v, err := vault.Create(parent, "", plenty)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err = os.ReadDir(parent); err != nil || len(entries) != 0 {
		t.Errorf("Close left %v, %v", entries, err)
	}
}

func TestCommitsAndAncestors(t *testing.T) {
	h := newHistory(t)
	v := newVaultFrom(t, h)
	got, err := v.Commits(t.Context(), []string{h.commits[1], strings.Repeat("0", 39) + "1", h.commits[0]})
	if err != nil || !cmp.Equal(got, []string{h.commits[1], h.commits[0]}) {
		t.Errorf("commits %v, %v", got, err)
	}
	for _, tt := range []struct {
		old, young int
		want       bool
	}{{0, 2, true}, {2, 0, false}, {1, 1, true}} {
		if got, err := v.IsAncestor(t.Context(), h.commits[tt.old], h.commits[tt.young]); err != nil || got != tt.want {
			t.Errorf("%d below %d: %v, %v", tt.old, tt.young, got, err)
		}
	}
	if _, err := v.IsAncestor(t.Context(), h.commits[0], strings.Repeat("1", 40)); err == nil {
		t.Error("a missing commit was compared")
	}
}

func TestIncompletePacksAreRefused(t *testing.T) {
	h := newHistory(t)
	from := newVaultFrom(t, h)
	file, err := from.Pack(t.Context(), h.commits[2], h.commits[1:2])
	if err != nil {
		t.Fatal(err)
	}
	var pack bytes.Buffer
	if _, err := pack.ReadFrom(file); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	v := newVault(t)
	index := func(pack []byte, limit int64) error {
		_, err := v.Index(t.Context(), bytes.NewReader(pack), true, limit, nil)
		return err
	}
	if err := index(pack.Bytes(), plenty); !errors.Is(err, vault.ErrBadPack) {
		t.Errorf("a pack without its base: %v", err)
	}
	if err := v.SetShallow(h.commits[2:]); err != nil {
		t.Fatal(err)
	}
	if err := index(pack.Bytes(), 20); !errors.Is(err, vault.ErrLimit) {
		t.Errorf("a pack over the limit: %v", err)
	}
	if err := index(pack.Bytes()[:pack.Len()-30], plenty); !errors.Is(err, vault.ErrBadPack) {
		t.Errorf("a cut pack: %v", err)
	}
	if err := index(nil, plenty); !errors.Is(err, vault.ErrBadPack) {
		t.Errorf("nothing: %v", err)
	}
	if err := index(pack.Bytes(), plenty); err != nil {
		t.Errorf("the same with its commit known as shallow: %v", err)
	}
}

func TestArgumentsAreHashes(t *testing.T) {
	v := newVault(t)
	for _, bad := range []string{"", "HEAD", "--all", strings.Repeat("a", 39), strings.Repeat("a", 40) + "\n"} {
		if _, err := v.Commits(t.Context(), []string{bad}); err == nil {
			t.Errorf("Commits takes %q", bad)
		}
		if _, err := v.Pack(t.Context(), bad, nil); err == nil {
			t.Errorf("Pack takes %q", bad)
		}
		if err := v.SetShallow([]string{bad}); err == nil {
			t.Errorf("SetShallow takes %q", bad)
		}
		if _, err := v.OpenPack(bad, ".pack"); err == nil {
			t.Errorf("OpenPack takes %q", bad)
		}
	}
}

func TestEndOfTheContext(t *testing.T) {
	v := newVault(t)
	stop := errors.New("stopped by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	reader := &endless{read: func() { cancel(stop) }}
	if _, err := v.Index(ctx, reader, false, plenty, nil); !errors.Is(err, stop) {
		t.Errorf("index: %v", err)
	}
}

// endless begins as a pack does and never ends.
type endless struct {
	begun bool
	read  func()
}

func (e *endless) Read(p []byte) (int, error) {
	if !e.begun {
		e.begun = true
		return copy(p, "PACK\x00\x00\x00\x02\x00\x00\xff\xff"), nil
	}
	e.read()
	return copy(p, "\x30"), nil
}
