package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// cloneFiles is the size of the large repository.
const cloneFiles = 20_000

// clone measures the clone of a large repository beside git's own, in turns.
func (b *bench) clone(ctx context.Context) error {
	url, err := b.host.Create("bench/large", sources(cloneFiles))
	if err != nil {
		return err
	}
	var ours, gits []time.Duration
	var ratios []float64
	for i := range b.heavy() + 1 {
		theirs, err := b.gitClone(ctx, url)
		if err != nil {
			return err
		}
		t, err := b.largeJob(ctx, url)
		if err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		own := t.pulled - t.connected
		ours, gits, ratios = append(ours, own), append(gits, theirs), append(ratios, float64(own)/float64(theirs))
	}
	row(fmt.Sprintf("clone of %d files", cloneFiles), "", short, ours)
	row(fmt.Sprintf("git clone of %d files", cloneFiles), "", short, gits)
	row("clone against git clone", "", ratio, ratios)
	return nil
}

func sources(files int) map[string]string {
	tree := make(map[string]string, files)
	for i := range files {
		text := fmt.Sprintf("package p%d\n\n// File %d of a large repository.\n", i%200, i)
		for line := range 100 {
			text += fmt.Sprintf("var v%d_%d = %d\n", i, line, i*7919+line*104729)
		}
		tree[fmt.Sprintf("pkg%03d/file%05d.go", i%200, i)] = text
	}
	return tree
}

func (b *bench) largeJob(ctx context.Context, url string) (timing, error) {
	p, err := b.start(ctx, map[string]string{"STORAGE_DIR": filepath.Join(b.dir, "large-store")})
	if err != nil {
		return timing{}, err
	}
	defer p.kill()
	return p.job(ctx, request("echo", "", url))
}

func (b *bench) gitClone(ctx context.Context, url string) (time.Duration, error) {
	dir := filepath.Join(b.dir, "git-clone")
	defer os.RemoveAll(dir)
	begun := time.Now()
	clone := exec.CommandContext(ctx, "git", "clone", "-q", "--depth=1", "--single-branch", "--no-tags", url, dir)
	clone.Stderr = os.Stderr
	err := clone.Run()
	return time.Since(begun), err
}
