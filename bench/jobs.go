package main

import (
	"context"
	"path/filepath"
	"time"
)

// jobs measures boot, first event, a whole empty job, and memory, on each store.
func (b *bench) jobs(ctx context.Context) error {
	if err := b.store(ctx, "directory", map[string]string{"STORAGE_DIR": filepath.Join(b.dir, "store")}); err != nil {
		return err
	}
	if b.minio == nil {
		return nil
	}
	return b.store(ctx, "minio", b.minio.env("jobs"))
}

func (b *bench) store(ctx context.Context, name string, env map[string]string) error {
	var boot, connected, empty, repo, host, own []time.Duration
	var idle, busy []int64
	for i := range b.rounds + 1 {
		p, plain, idleRSS, err := b.emptyJob(ctx, env, "")
		if err != nil {
			return err
		}
		before := len(b.host.Requests())
		_, cloned, _, err := b.emptyJob(ctx, env, b.small)
		if err != nil {
			return err
		}
		if i == 0 {
			continue // warms the caches
		}
		var hosts time.Duration
		for _, r := range b.host.Requests()[before:] {
			hosts += r.Took
		}
		host, own = append(host, hosts), append(own, cloned.total-hosts-cloned.assisted)
		boot, idle, busy = append(boot, p.boot), append(idle, idleRSS), append(busy, cloned.busyRSS)
		connected, empty, repo = append(connected, plain.connected), append(empty, plain.total-plain.assisted), append(repo, cloned.total)
	}
	row(name+": boot to /health", "", short, boot)
	row(name+": POST to connected", "", short, connected)
	row(name+": empty job, no repository, own time", "≤ 30ms", short, empty)
	row(name+": empty job, small repository", "", short, repo)
	row("  of it the git host's own processes", "", short, host)
	row("  of it the worker's own time", "≤ 30ms", short, own)
	row(name+": RSS idle", "", megabytes, idle)
	row(name+": RSS busy", "", megabytes, busy)
	return nil
}

// emptyJob is a job whose script does nothing but say a word, on a worker that has settled.
func (b *bench) emptyJob(ctx context.Context, env map[string]string, repoURL string) (*process, timing, int64, error) {
	p, err := b.start(ctx, env)
	if err != nil {
		return nil, timing{}, 0, err
	}
	defer p.kill()
	time.Sleep(300 * time.Millisecond) // it does some things after its start, as one that waits for work has
	idle := p.memory("VmRSS")
	t, err := p.job(ctx, request("echo", "", repoURL))
	return p, t, idle, err
}
