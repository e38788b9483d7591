package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

const (
	savedFiles = 20_000
	savedBytes = 300 << 20
	agentUID   = 10001

	// afterRemoval is how long ext4 keeps inodes back that have just become free: for so long new files cost several times as much.
	afterRemoval = 6 * time.Second
)

// snapshot measures the save and the restore of a large workspace beside tar and zstd, to and from the same MinIO, in turns.
func (b *bench) snapshot(ctx context.Context) error {
	if b.minio == nil {
		return nil
	}
	tree := filepath.Join(b.dir, "tree")
	if err := makeTree(tree); err != nil {
		return err
	}
	store, err := b.minio.open("reference")
	if err != nil {
		return err
	}
	var saves, restores, tarSaves, tarRestores []time.Duration
	var saveRatios, restoreRatios []float64
	for i := range b.heavy() + 1 {
		ours, err := b.saveAndRestore(ctx, tree, fmt.Sprintf("large-%d", i))
		if err != nil {
			return err
		}
		theirs, err := b.tarAndBack(ctx, tree, store)
		if err != nil {
			return err
		}
		if i == 0 {
			continue // warms the caches
		}
		saves, tarSaves = append(saves, ours.save), append(tarSaves, theirs.save)
		restores, tarRestores = append(restores, ours.restore), append(tarRestores, theirs.restore)
		saveRatios = append(saveRatios, float64(ours.save)/float64(theirs.save))
		restoreRatios = append(restoreRatios, float64(ours.restore)/float64(theirs.restore))
	}
	what := fmt.Sprintf("%d MB in %d files", savedBytes>>20, savedFiles)
	row("save of "+what, "", short, saves)
	row("  tar | zstd -1 to the same MinIO", "", short, tarSaves)
	row("  save against tar", "≤ 1.30", ratio, saveRatios)
	row("restore of "+what, "", short, restores)
	row("  zstd -d | tar from the same MinIO", "", short, tarRestores)
	row("  restore against tar", "≤ 1.20", ratio, restoreRatios)
	return nil
}

// copied is how long a workspace took to storage and back.
type copied struct{ save, restore time.Duration }

// saveAndRestore lets one job fill a workspace, and another one resume it. The save is all that comes between the
// assistant's end and the job's, the restore all between the job's first event and the assistant's start.
func (b *bench) saveAndRestore(ctx context.Context, tree, session string) (copied, error) {
	env := b.minio.env("snapshots")
	filled, err := b.sessionJob(ctx, env, request("cp -R "+tree+"/. .", session, ""))
	if err != nil {
		return copied{}, err
	}
	time.Sleep(afterRemoval)
	resumed, err := b.sessionJob(ctx, env, request("rm -rf ./*", session, "")) // leaves little to save
	if err != nil {
		return copied{}, err
	}
	return copied{save: filled.total - filled.worked, restore: resumed.restored - resumed.connected}, nil
}

func (b *bench) sessionJob(ctx context.Context, env map[string]string, request map[string]any) (timing, error) {
	p, err := b.start(ctx, env)
	if err != nil {
		return timing{}, err
	}
	defer p.kill()
	return p.job(ctx, request)
}

// referenceKey is where the archive of tar is kept.
const referenceKey = "reference/archive"

func (b *bench) tarAndBack(ctx context.Context, tree string, store storage.Store) (c copied, err error) {
	begun := time.Now()
	if err := putTar(ctx, store, tree); err != nil {
		return c, fmt.Errorf("tar to MinIO: %w", err)
	}
	c.save = time.Since(begun)
	out := filepath.Join(b.dir, "untarred")
	if err := errors.Join(os.Mkdir(out, 0o755), os.Chmod(out, 0o777)); err != nil {
		return c, err
	}
	defer os.RemoveAll(out)
	time.Sleep(afterRemoval)
	begun = time.Now()
	if err := getTar(ctx, store, out); err != nil {
		return c, fmt.Errorf("tar from MinIO: %w", err)
	}
	c.restore = time.Since(begun)
	return c, nil
}

func putTar(ctx context.Context, store storage.Store, tree string) error {
	tar := asAgent(exec.CommandContext(ctx, "/bin/sh", "-c", `cd "$1" && tar -c -- * | zstd -1 -q`, "sh", tree))
	r, w := io.Pipe()
	tar.Stdout = w
	done := make(chan error, 1)
	go func() {
		err := tar.Run()
		w.CloseWithError(err)
		done <- err
	}()
	err := store.Put(ctx, referenceKey, r)
	_ = r.Close() // a tar that still writes ends
	return errors.Join(err, <-done)
}

func getTar(ctx context.Context, store storage.Store, out string) error {
	archive, _, err := store.Get(ctx, referenceKey)
	if err != nil {
		return err
	}
	defer archive.Close()
	tar := asAgent(exec.CommandContext(ctx, "/bin/sh", "-c", `zstd -d -q | tar -x -C "$1"`, "sh", out))
	tar.Stdin = archive
	return tar.Run()
}

// asAgent runs a command as the worker's children run: a file system may give root its blocks in half the time.
func asAgent(cmd *exec.Cmd) *exec.Cmd {
	cmd.Stderr, cmd.Dir = os.Stderr, "/"
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: agentUID, Gid: agentUID}}
	}
	return cmd
}

// makeTree writes files of one size, of words as sources have them: they compress as sources do.
func makeTree(dir string) error {
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 4000)
	for i := range words {
		words[i] = randomWord(random)
	}
	for i := range savedFiles {
		path := filepath.Join(dir, fmt.Sprint("dir", i%200), fmt.Sprint("file", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(prose(random, words)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func randomWord(random *rand.Rand) string {
	letters := make([]byte, 2+random.IntN(9))
	for i := range letters {
		letters[i] = byte('a' + random.IntN(26))
	}
	return string(letters)
}

func prose(random *rand.Rand, words []string) string {
	var text strings.Builder
	for text.Len() < savedBytes/savedFiles {
		text.WriteString(words[int(float64(len(words))*random.Float64()*random.Float64())]) // some words come more often
		text.WriteByte(" \n\t(.,;"[min(random.IntN(12), 6)])
	}
	return text.String()[:savedBytes/savedFiles]
}
