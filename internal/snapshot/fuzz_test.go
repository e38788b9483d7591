package snapshot_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// FuzzUnpack feeds the bytes as a tar, compressed so that the fuzzer reaches it, and as they are.
func FuzzUnpack(f *testing.F) {
	for _, seed := range [][]byte{
		archive(f, dir("a"), reg("a/b"), symlink("c", "a"), link("d", "a/b")),
		archive(f, symlink("a", ".."), reg("a/escaped")), archive(f, reg("../escaped")), archive(f, link("a", "../outside")),
		archiveWith(f, "", reg("a")),
	} {
		f.Add(decompress(f, seed), true)
		f.Add(seed, false)
	}
	limits := snapshot.Tar{MaxBytes: 1 << 16, MaxEntries: 64}
	f.Fuzz(func(t *testing.T, data []byte, wrap bool) {
		base := t.TempDir()
		root, outside := filepath.Join(base, "root"), filepath.Join(base, "outside")
		if err := os.Mkdir(root, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(outside, []byte("untouched"), 0o600); err != nil {
			t.Fatal(err)
		}
		if wrap {
			data = compress(t, data)
		}
		_, _, err := snapshot.Unpack(root, limits, bytes.NewReader(data))
		if err != nil && !errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("error %v, want ErrCorrupt", err)
		}
		checkOutside(t, base, outside)
		if got := names(t, base); len(got) != 2 {
			t.Errorf("beside root: %q", got)
		}
	})
}
