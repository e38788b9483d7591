package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// store measures boot, first event, a whole empty job, and memory on one store.
func (b *bench) store(ctx context.Context, name string, env map[string]string) error {
	var boot, connected, empty, repo, host, own []time.Duration
	var idle, busy []int64
	for i := range b.rounds + 1 {
		p, err := b.start(ctx, env)
		if err != nil {
			return err
		}
		settle()
		idleRSS := p.rss()
		plain, err := p.job(ctx, "echo", "")
		if err != nil {
			p.kill()
			return err
		}
		q, err := b.start(ctx, env)
		if err != nil {
			return err
		}
		settle()
		before := len(b.host.Requests())
		cloned, err := q.job(ctx, "echo", b.small)
		if err != nil {
			q.kill()
			return err
		}
		if i == 0 {
			continue // warms the caches
		}
		var hosts time.Duration
		for _, r := range b.host.Requests()[before:] {
			hosts += r.Took
		}
		host, own = append(host, hosts), append(own, cloned.total-hosts)
		boot, idle, busy = append(boot, p.boot), append(idle, idleRSS), append(busy, cloned.busyRSS)
		connected, empty, repo = append(connected, plain.connected), append(empty, plain.total), append(repo, cloned.total)
	}
	row(name+": boot to /health", boot)
	row(name+": POST to connected", connected)
	row(name+": empty job, no repository", empty)
	row(name+": empty job, small repository", repo)
	row("  of it the git host's own processes", host)
	row("  of it the worker's own time", own)
	rowMB(name+": RSS idle", idle)
	rowMB(name+": RSS busy", busy)
	return nil
}

// settle lets a worker finish what it does after its start, as one that waits for work has.
func settle() { time.Sleep(150 * time.Millisecond) }

// clone measures the clone of a large repository beside git's own, in turns.
func (b *bench) clone(ctx context.Context, files int) error {
	tree := make(map[string]string, files)
	for i := range files {
		text := fmt.Sprintf("package p%d\n\n// File %d of a large repository.\n", i%200, i)
		for line := range 100 {
			text += fmt.Sprintf("var v%d_%d = %d\n", i, line, i*7919+line*104729)
		}
		tree[fmt.Sprintf("pkg%03d/file%05d.go", i%200, i)] = text
	}
	url, err := b.host.Create("bench/large", tree)
	if err != nil {
		return err
	}
	var ours, gits []time.Duration
	var ratios []float64
	for i := range max(3, b.rounds/3) + 1 {
		theirs, err := b.gitClone(ctx, url)
		if err != nil {
			return err
		}
		p, err := b.start(ctx, map[string]string{"STORAGE_DIR": filepath.Join(b.dir, "large-store"), "LOG_LEVEL": "warn"})
		if err != nil {
			return err
		}
		t, err := p.job(ctx, "echo", url)
		if err != nil {
			p.kill()
			return err
		}
		if i == 0 {
			continue
		}
		ours, gits, ratios = append(ours, t.pulled-t.connected), append(gits, theirs), append(ratios, float64(t.pulled-t.connected)/float64(theirs))
	}
	row(fmt.Sprintf("clone of %d files", files), ours)
	row(fmt.Sprintf("git clone of %d files", files), gits)
	rowRatio("clone against git clone (ratio)", ratios)
	return nil
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

type minioServer struct{ cmd *exec.Cmd }

func (s *minioServer) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func startMinIO(ctx context.Context, binary, dir string) (*minioServer, map[string]string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	addr := listener.Addr().String()
	listener.Close()
	s := &minioServer{cmd: exec.CommandContext(ctx, binary, "server", "--quiet", "--address", addr, dir)}
	s.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER=bench-user", "MINIO_ROOT_PASSWORD=bench-password")
	if err := s.cmd.Start(); err != nil {
		return nil, nil, err
	}
	env := map[string]string{"MINIO_ENDPOINT": addr, "MINIO_ACCESS_KEY": "bench-user", "MINIO_SECRET_KEY": "bench-password"}
	for range 300 {
		res, err := http.Get("http://" + addr + "/minio/health/ready")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return s, env, nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.stop()
	return nil, nil, fmt.Errorf("MinIO does not answer on %s", addr)
}
