// Command bench measures a worker as a whole process: how soon it answers, what it adds to a job, how many events it hands
// to how many readers, how it takes a storm of requests, and how its clone, save and restore compare with git's and tar's own.
// Everything runs on loopback. It prints medians, the spread (the 10th and the 90th of a hundred) and what is aimed at, and judges nothing.
//
//	go run ./bench -n 15 -minio PATH -rows jobs,events
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
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// group is rows that are measured together.
type group struct {
	name    string
	measure func(*bench, context.Context) error
}

func groups() []group {
	return []group{
		{"jobs", (*bench).jobs},
		{"clone", (*bench).clone},
		{"events", (*bench).events},
		{"posts", (*bench).posts},
		{"snapshot", (*bench).snapshot},
	}
}

func run(ctx context.Context, args []string) error {
	var all []string
	for _, g := range groups() {
		all = append(all, g.name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	b := &bench{}
	flags.IntVar(&b.rounds, "n", 15, "rounds of each row; a third of it, at least 3, where a round takes seconds")
	flags.StringVar(&b.minioPath, "minio", "", "path of the MinIO server's binary; empty leaves its rows out")
	rows := flags.String("rows", strings.Join(all, ","), "groups of rows to measure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted := strings.Split(*rows, ",")
	for _, name := range wanted {
		if !slices.Contains(all, name) {
			return fmt.Errorf("no rows %q: there are %s", name, strings.Join(all, ", "))
		}
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer b.close()
	header()
	for _, g := range groups() {
		if !slices.Contains(wanted, g.name) {
			continue
		}
		if err := g.measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	fmt.Printf("load of the machine at the end: %s\n", load())
	return nil
}

// prepare builds the worker as it is shipped, and starts what it meets.
func (b *bench) prepare(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "aicw-bench-"); err != nil {
		return err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // the agent works below it
		return err
	}
	b.binary = filepath.Join(b.dir, "worker")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", b.binary, "./cmd/worker")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the worker: %w", err)
	}
	if err := b.startGit(); err != nil {
		return err
	}
	if b.minioPath == "" {
		return nil
	}
	b.minio, err = startMinIO(ctx, b.minioPath, filepath.Join(b.dir, "minio"))
	return err
}

func (b *bench) close() {
	if b.minio != nil {
		b.minio.stop()
	}
	if b.host != nil {
		_ = b.host.Close()
	}
	os.RemoveAll(b.dir)
}

// heavy is the number of rounds where one takes seconds.
func (b *bench) heavy() int { return max(3, b.rounds/3) }
