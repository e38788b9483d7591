package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// memory watches what Go's heap and stacks of a worker take, by its own metrics: the resident memory of a process that the
// race detector watches says nothing. It returns the most that it saw.
func memory(t *testing.T, p *proc) (most func() int64) {
	t.Helper()
	url := metricsURL(t, p)
	stop, peak := make(chan struct{}), make(chan int64, 1)
	go func() {
		var top int64
		for {
			if now, ok := heapAndStacks(url); ok {
				top = max(top, now)
			}
			select {
			case <-stop:
				peak <- top
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(stop); return <-peak }
}

func heapAndStacks(url string) (bytes int64, ok bool) {
	res, err := http.Get(url)
	if err != nil {
		return 0, false
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		var value float64
		for _, name := range []string{"go_memstats_heap_inuse_bytes", "go_memstats_stack_inuse_bytes"} {
			if _, err := fmt.Sscanf(lines.Text(), name+" %g", &value); err == nil {
				bytes += int64(value)
			}
		}
	}
	return bytes, bytes > 0
}

// wantMemory holds a bound that docs/design.md states.
func wantMemory(t *testing.T, got, most int64) {
	t.Helper()
	t.Logf("at most %d MiB of heap and stacks", got>>20)
	if got == 0 || got > most {
		t.Errorf("%d bytes of heap and stacks, of at most %d", got, most)
	}
}

// TestThreeThousandPosts want one worker: one of them gets it, and the others are told at once.
func TestThreeThousandPosts(t *testing.T) {
	const posts, most = 3000, 192 << 20
	p := startWorker(t, with(env(t), "METRICS_ADDR", "127.0.0.1:0", "METRICS_LINGER", "1ms", "LOG_LEVEL", "info"))
	took := memory(t, p)
	addr := strings.TrimPrefix(p.URL, "http://")
	body, _ := json.Marshal(script("sleep 300"))
	request := fmt.Sprintf("POST /execute HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body)
	answers := make(map[string]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	var won net.Conn
	var ready sync.WaitGroup // all but the last byte of each request is sent
	ready.Add(posts)
	for range posts {
		all.Go(func() {
			conn, status := sendRaw(t, addr, request, &ready)
			mu.Lock()
			defer mu.Unlock()
			if answers[status]++; status == "HTTP/1.1 200 OK\r\n" {
				won = conn
			}
		})
	}
	all.Wait()
	if answers["HTTP/1.1 200 OK\r\n"] != 1 || answers["HTTP/1.1 429 Too Many Requests\r\n"] != posts-1 {
		t.Fatalf("answers: %v", answers)
	}
	wantMemory(t, took(), most)
	res, err := http.Post(p.URL+"/abort", "application/json", nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("abort: %v %v", res, err)
	}
	res.Body.Close()
	if rest, err := io.ReadAll(won); !strings.Contains(string(rest), `"code":"aborted"`) {
		t.Errorf("the job's stream: %v: %s", err, rest)
	}
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// sendRaw sends a request on a connection of its own, which stays open to the test's end, its last byte when all are ready.
// It returns the answer's first line.
func sendRaw(t *testing.T, addr, request string, ready *sync.WaitGroup) (net.Conn, string) {
	last := len(request) - 1
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
		_, err = io.WriteString(conn, request[:last])
	}
	ready.Done()
	ready.Wait()
	if err == nil {
		_, err = io.WriteString(conn, request[last:])
	}
	if err != nil {
		return conn, err.Error()
	}
	var line []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(line), "\n"); { // no byte of what follows is taken
		if _, err := conn.Read(one); err != nil {
			return conn, err.Error()
		}
		line = append(line, one[0])
	}
	return conn, string(line)
}

// TestIdleConnectionsAndSlowSenders keep nobody else out.
func TestIdleConnectionsAndSlowSenders(t *testing.T) {
	const most = 320 << 20
	p := startWorker(t, with(env(t), "METRICS_ADDR", "127.0.0.1:0", "METRICS_LINGER", "1ms", "LOG_LEVEL", "info"))
	took := memory(t, p)
	addr := strings.TrimPrefix(p.URL, "http://")
	slow := []string{
		"", "", "", "", "", "", "", "",
		"POST /execute HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
		"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{",
	}
	count := min(10_000, openFiles(t)-500)
	t.Logf("%d connections", count)
	for i := range count {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, slow[i%len(slow)]); err != nil && i < 1000 { // the first may be cut by now
			t.Fatal(err)
		}
	}
	res, err := http.Get(p.URL + "/health")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("/health: %v %v", res, err)
	}
	res.Body.Close()
	p.post(script("echo working")).completed()
	wantMemory(t, took(), most)
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// openFiles is how many files this process may have open.
func openFiles(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Cur, 1<<20))
}

// TestLinesLongerThanMayBe are cut, and nothing else of the job is: one of plain text, and one of what JSON writes longest.
func TestLinesLongerThanMayBe(t *testing.T) {
	const most = 256 << 20
	p := startWorker(t, with(env(t), "METRICS_ADDR", "127.0.0.1:0", "METRICS_LINGER", "1ms", "LOG_LEVEL", "info"))
	took := memory(t, p)
	s := p.post(script(`head -c 20000000 /dev/zero | tr '\0' x; echo; head -c 17000000 /dev/zero | tr '\0' '\001'; echo; echo after`))
	var long []string
	for {
		e := s.until(ofType("assistant_message"))
		text, _ := e["data"].(map[string]any)["text"].(string)
		if text == "after" {
			break
		}
		long = append(long, text)
	}
	if len(long) != 2 {
		t.Fatalf("%d long lines", len(long))
	}
	for i, text := range long {
		if n := len(text); n > 16<<20 || n < 2<<20 || !strings.HasSuffix(text, "…[truncated]") {
			t.Errorf("line %d has %d bytes and ends in %q", i+1, n, text[max(n-20, 0):])
		}
	}
	s.completed()
	wantMemory(t, took(), most)
}
