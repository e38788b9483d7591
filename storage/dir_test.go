package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// bigObject can be told from a part of it, and from a mixture of two.
func bigObject(i int) string {
	digit := fmt.Sprint(i % 10)
	return digit + strings.Repeat(digit, 1<<20+i%100) + "end"
}

func TestDirBetweenProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := storage.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), "counter", strings.NewReader("0")); err != nil {
		t.Fatal(err)
	}
	children := make([]*process, 4)
	for i := range children {
		children[i] = child(t, "count", dirEnv+"="+dir)
	}
	for _, c := range children {
		if err := c.wait(); err != nil {
			t.Error(err)
		}
	}
	if got := content(t, store, "counter"); got != "200" {
		t.Errorf("four processes have counted to %s", got)
	}
}

func TestDirSurvivesKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := storage.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), "counter", strings.NewReader("0")); err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		before := content(t, store, "counter")
		c := child(t, "write", dirEnv+"="+dir)
		eventually(t, "the child's work", func() bool { return content(t, store, "counter") != before })
		<-time.After(time.Duration(i) * 3 * time.Millisecond)
		c.signal(t, syscall.SIGKILL)
		_ = c.wait()
		big := content(t, store, "objects/big")
		if body := strings.TrimSuffix(big, "end"); body == big || strings.Trim(body, big[:1]) != "" || len(body) < 1<<20 {
			t.Fatalf("round %d: the object is a mixture or a part of %d bytes", i, len(big))
		}
		for _, key := range keys(t, store, "") {
			if key != "objects/big" && key != "counter" && key != "folder/of/its/own" {
				t.Errorf("round %d: there is an object %s", i, key)
			}
		}
		storagetest.Count(t, store, "counter") // the lock of the killed is free
	}
	// A leftover that somebody still writes stays, one of a killed process goes.
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() { written <- store.Put(t.Context(), "slow", r) }()
	if _, err := io.WriteString(w, "slow "); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".store/tmp/LEFTOVER"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	age(t, filepath.Join(dir, ".store/tmp"))
	if _, err := storage.NewDir(dir); err != nil {
		t.Fatal(err)
	}
	if left := fileNames(t, filepath.Join(dir, ".store/tmp")); len(left) != 1 || left[0] == "LEFTOVER" {
		t.Errorf("left: %q", left)
	}
	if _, err := io.WriteString(w, "but whole"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), <-written); err != nil {
		t.Fatal(err)
	}
	if got := content(t, store, "slow"); got != "slow but whole" {
		t.Errorf("got %q", got)
	}
}

func age(t *testing.T, dir string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	for _, name := range fileNames(t, dir) {
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
}

func fileNames(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// TestDirVersionsAreUnique: the same content again, as fast as it goes, over the same few inodes.
func TestDirVersionsAreUnique(t *testing.T) {
	t.Parallel()
	store := newDir(t)
	seen := make(map[string]bool)
	for i := range 500 {
		cond := storage.IfAbsent
		if i%5 != 0 {
			stat, err := store.Stat(t.Context(), "k/v")
			if err != nil {
				t.Fatal(err)
			}
			cond = storage.IfVersion(stat.Version)
		}
		version, err := store.PutIf(t.Context(), "k/v", []byte("same"), cond)
		if err != nil {
			t.Fatal(err)
		}
		if seen[version] {
			t.Fatalf("version %s comes again", version)
		}
		seen[version] = true
		if i%5 == 4 {
			if err := store.Delete(t.Context(), "k/v"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDirFrozenLock: a process stopped in the middle of a write keeps others from that session, as long as their contexts
// let it, and from no other one.
func TestDirFrozenLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := storage.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), "session-a/x", strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	locks := fileNames(t, filepath.Join(dir, ".store/locks"))
	if len(locks) != 1 {
		t.Fatal(locks)
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".store/locks", locks[0]), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	late := errors.New("late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, late)
	defer cancel()
	_, err = store.PutIf(ctx, "session-a/y", nil, storage.IfAbsent)
	wantError(t, "PutIf", err, late)
	if err := store.Put(t.Context(), "session-b/x", strings.NewReader("")); err != nil {
		t.Error(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutIf(t.Context(), "session-a/y", nil, storage.IfAbsent); err != nil {
		t.Error(err)
	}
}

func TestDirIsConfined(t *testing.T) {
	t.Parallel()
	outer := t.TempDir()
	dir := filepath.Join(outer, "store")
	store, err := storage.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outer, "secret"), []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"out": outer, "up": "..", "session-s": "../secret"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"out/secret", "up/secret", "out/new", "up/new", "session-s", ".store/tmp/x", ".store"} {
		if _, _, err := store.Get(t.Context(), key); err == nil {
			t.Errorf("Get reads %s", key)
		}
		if err := store.Put(t.Context(), key, strings.NewReader("x")); err == nil && key != "session-s" {
			t.Errorf("Put writes %s", key)
		}
		if err := store.Delete(t.Context(), key); err == nil && key != "session-s" {
			t.Errorf("Delete takes %s", key)
		}
	}
	if diff := cmp.Diff([]string{"secret", "store"}, fileNames(t, outer)); diff != "" {
		t.Error(diff)
	}
	if data, err := os.ReadFile(filepath.Join(outer, "secret")); string(data) != "canary" {
		t.Errorf("the file outside: %q, %v", data, err)
	}
}

func TestDirKeepsToItsOwner(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	store, err := storage.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), "session-a/b/c", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		info, infoErr := entry.Info()
		if err != nil || infoErr != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v, %v", path, info, err, infoErr)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDirGone: a store whose disk has gone is away; its objects are not "not found", which would mean a replaced lease.
func TestDirGone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "gone")
	store, err := storage.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, _, getErr := store.Get(t.Context(), "a")
	_, statErr := store.Stat(t.Context(), "a")
	_, putIfErr := store.PutIf(t.Context(), "a", nil, storage.IfAbsent)
	for name, err := range map[string]error{"Get": getErr, "Stat": statErr, "PutIf": putIfErr, "Put": store.Put(t.Context(), "a", strings.NewReader(""))} {
		wantError(t, name, err, storage.ErrUnavailable)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := storage.NewDir(file); err == nil {
		t.Error("NewDir takes a file")
	}
}
