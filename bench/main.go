// Command bench measures a worker as a whole process: how soon it answers, what it adds to a job, what memory it takes,
// and how long its clone takes beside git's own. Everything runs on loopback. It prints medians and spreads, and judges nothing.
//
//	go run ./bench -n 15 -minio PATH
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("n", 15, "rounds of each row")
	minio := flags.String("minio", "", "path of the MinIO server's binary; empty leaves its rows out")
	files := flags.Int("files", 20000, "files of the large repository; 0 leaves its rows out")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "aicw-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, rounds: *rounds, binary: filepath.Join(dir, "worker")}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer b.close()
	fmt.Printf("%-44s %10s %10s %10s\n", "row", "median", "min", "max")
	if err := b.store(ctx, "directory", map[string]string{"STORAGE_DIR": filepath.Join(dir, "store")}); err != nil {
		return err
	}
	if *minio != "" {
		server, env, err := startMinIO(ctx, *minio, filepath.Join(dir, "minio"))
		if err != nil {
			return err
		}
		defer server.stop()
		if err := b.store(ctx, "minio", env); err != nil {
			return err
		}
	}
	if *files > 0 {
		return b.clone(ctx, *files)
	}
	return nil
}

// prepare builds the worker as it is shipped.
func (b *bench) prepare(ctx context.Context) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", b.binary, "./cmd/worker")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the worker: %w", err)
	}
	return b.startGit()
}

// row prints one measured quantity.
func row(name string, values []time.Duration) {
	slices.Sort(values)
	fmt.Printf("%-44s %10s %10s %10s\n", name, short(values[len(values)/2]), short(values[0]), short(values[len(values)-1]))
}

func short(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }

func rowMB(name string, values []int64) {
	slices.Sort(values)
	mb := func(v int64) string { return fmt.Sprintf("%.1f MB", float64(v)/1e6) }
	fmt.Printf("%-44s %10s %10s %10s\n", name, mb(values[len(values)/2]), mb(values[0]), mb(values[len(values)-1]))
}

func rowRatio(name string, values []float64) {
	slices.Sort(values)
	fmt.Printf("%-44s %10.2f %10.2f %10.2f\n", name, values[len(values)/2], values[0], values[len(values)-1])
}
