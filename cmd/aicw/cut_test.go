package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

// cutter passes connections on to a worker and breaks each after some bytes of the answer.
type cutter struct {
	net.Listener
	mu      sync.Mutex
	worker  string
	limit   int64
	breaks  int
	running sync.WaitGroup
}

func startCutter(t *testing.T, limit int64) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: ln, limit: limit}
	c.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c.running.Go(func() { c.pass(conn) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); c.running.Wait() })
	return c
}

func (c *cutter) pass(conn net.Conn) {
	defer conn.Close()
	c.mu.Lock()
	addr := c.worker
	c.mu.Unlock()
	worker, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer worker.Close()
	go func() { _, _ = io.Copy(worker, conn) }()
	if n, _ := io.CopyN(conn, worker, c.limit); n == c.limit {
		c.mu.Lock()
		c.breaks++
		c.mu.Unlock()
	}
}

func (c *cutter) broken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.breaks
}

func (c *cutter) passTo(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.worker = strings.TrimPrefix(url, "http://")
}

// supervise starts one worker after the other behind the cutter, as a container's restart policy does.
func supervise(t *testing.T, c *cutter) {
	t.Helper()
	d := &demo{app: &app{getenv: func(string) string { return "" }, stdout: io.Discard, stderr: io.Discard}}
	if err := d.prepare(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	url, exited, stop, err := d.startWorker(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.passTo(url)
	done := make(chan error, 1)
	go func() {
		for {
			select {
			case err = <-exited:
			case <-ctx.Done():
			}
			stop()
			if err != nil || ctx.Err() != nil {
				done <- err
				return
			}
			url, exited, stop, err = d.startWorker(ctx)
			if err != nil {
				done <- err
				return
			}
			c.passTo(url)
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("worker: %v", err)
		}
		d.close()
	})
}

// A job of 300 lines over connections that break after every 6,000 bytes, wherever in an event that is: a real worker, and at the end
// perhaps its successor, which knows the job from storage alone.
func TestNothingIsLostOverABadNetwork(t *testing.T) {
	c := startCutter(t, 6000)
	supervise(t, c)
	patience := func(cfg *client.Config) {
		cfg.LostWait = time.Hour
		cfg.Wait = func(ctx context.Context, d time.Duration) error {
			select {
			case <-time.After(min(d, 50*time.Millisecond)):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	got := aicw(t, "http://"+c.Addr().String(), call{
		args: []string{"run", "--json", "--provider", "script", `i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo "line $i"; done`}, tune: patience,
	})
	if got.status != 0 {
		t.Fatalf("status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
	n, lines := 0, 0
	for l := range strings.Lines(got.stdout) {
		var e struct {
			ID   string
			Data struct{ Text string }
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		if n++; e.ID != fmt.Sprintf("1-%d", n) {
			t.Fatalf("event %d has the ID %s", n, e.ID)
		}
		if strings.HasPrefix(e.Data.Text, "line ") {
			if lines++; e.Data.Text != fmt.Sprintf("line %d", lines) {
				t.Fatalf("line %d is %q", lines, e.Data.Text)
			}
		}
	}
	if breaks := c.broken(); lines != 300 || breaks < 5 {
		t.Errorf("%d lines over %d broken connections", lines, breaks)
	}
}
