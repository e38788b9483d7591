package snapshot_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// makeCheckout is a repository of 20,000 sources of 10 KB and a pack of 100 MB.
func makeCheckout(dir string) error {
	source := strings.Repeat("func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {\n", 128)
	for i := range 20_000 {
		path := filepath.Join(dir, "checkout", "repo", fmt.Sprint(i%200), fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		// Some noise in each, so that one file says little about the next.
		if err := os.WriteFile(path, append(noise(uint64(i), 3000), source[:7000]...), 0o600); err != nil {
			return err
		}
	}
	pack := filepath.Join(dir, "checkout", "repo", ".git", "objects", "pack", "pack-1.pack")
	if err := os.MkdirAll(filepath.Dir(pack), 0o700); err != nil {
		return err
	}
	return os.WriteFile(pack, noise(1, 100<<20), 0o400)
}

func BenchmarkSave(b *testing.B) {
	agent, dir := agenttest.Start(b), agenttest.Dir(b)
	run(b, agent, "checkout", dir)
	for b.Loop() {
		ref, _, err := snapshot.Tar{}.Save(b.Context(), agent, dir, include, &discard{})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(ref.Bytes)
	}
}

func BenchmarkRestore(b *testing.B) {
	agent, dir, store := agenttest.Start(b), agenttest.Dir(b), &objects{}
	run(b, agent, "checkout", dir)
	ref, _, err := snapshot.Tar{}.Save(b.Context(), agent, dir, include, store)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(ref.Bytes)
	for b.Loop() {
		to := agenttest.Dir(b)
		if err := (snapshot.Tar{}).Restore(b.Context(), agent, to, ref, store); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := agent.RemoveAll(b.Context(), to); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

type discard struct{ objects }

func (*discard) Put(_ context.Context, _ string, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
