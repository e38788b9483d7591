package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// postCount is the size of the storm.
const postCount = 10_000

// posts measures a storm of jobs that all want the same worker: one of them gets it.
func (b *bench) posts(ctx context.Context) error {
	connections, err := socketLimit()
	if err != nil {
		return err
	}
	var took []time.Duration
	var memory []int64
	for range b.heavy() {
		d, rss, err := b.postStorm(ctx, min(postCount, connections))
		if err != nil {
			return err
		}
		took, memory = append(took, d), append(memory, rss)
	}
	row(fmt.Sprintf("%d POSTs, %d at a time", postCount, min(postCount, connections)), "≤ 5s", short, took)
	row(fmt.Sprintf("%d POSTs: RSS at most", postCount), "< 350 MB", megabytes, memory)
	return nil
}

// socketLimit is how many connections this process may have open, some files apart.
func socketLimit() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	return int(limit.Cur) - 200, nil
}

func (b *bench) postStorm(ctx context.Context, atOnce int) (time.Duration, int64, error) {
	p, err := b.start(ctx, map[string]string{"STORAGE_DIR": filepath.Join(b.dir, fmt.Sprintf("posts-store-%d", b.workers))})
	if err != nil {
		return 0, 0, err
	}
	defer p.kill()
	body, err := json.Marshal(request("sleep 60", "", ""))
	if err != nil {
		return 0, 0, err
	}
	addr := strings.TrimPrefix(p.url, "http://")
	raw := fmt.Sprintf("POST /execute HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body)
	s := storm{addr: addr, request: raw, room: make(chan struct{}, atOnce), answers: make(map[int]int)}
	begun := time.Now()
	s.run(ctx)
	took := time.Since(begun)
	if s.answers[http.StatusOK] != 1 || s.answers[http.StatusTooManyRequests] != postCount-1 {
		return 0, 0, fmt.Errorf("answers by status: %v: %w", s.answers, errors.Join(s.errs...))
	}
	return took, p.memory("VmHWM"), nil
}

// storm is many requests at once, each on a connection of its own that stays open until all are answered.
type storm struct {
	addr, request string
	room          chan struct{}

	mu      sync.Mutex
	answers map[int]int // by status
	errs    []error     // the first few
}

func (s *storm) run(ctx context.Context) {
	ctx, over := context.WithCancel(ctx)
	defer over()
	var all sync.WaitGroup
	for range postCount {
		s.room <- struct{}{}
		all.Go(func() {
			status, err := s.send(ctx)
			if cap(s.room) < postCount {
				<-s.room
			}
			s.note(status, err)
		})
	}
	all.Wait()
}

// send sends one request and reads how it is answered.
func (s *storm) send(ctx context.Context) (status int, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return 0, err
	}
	if cap(s.room) < postCount {
		defer conn.Close()
	} else {
		context.AfterFunc(ctx, func() { conn.Close() })
	}
	if _, err := conn.Write([]byte(s.request)); err != nil {
		return 0, err
	}
	line, err := bufio.NewReaderSize(conn, 1024).ReadString('\n') // a stream's body would go on
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscanf(line, "HTTP/1.1 %d", &status)
	return status, err
}

func (s *storm) note(status int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[status]++
	if err != nil && len(s.errs) < 3 {
		s.errs = append(s.errs, err)
	}
}
