package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
)

// dial opens a raw connection and sends the beginning of a request.
func (w *worker) dial(text string) net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

func impatient() httpapi.Timing {
	return httpapi.Timing{Header: 200 * time.Millisecond, Body: 300 * time.Millisecond}
}

func TestSlowHeaders(t *testing.T) {
	cfg := config(t, newRunner(t), newSessions())
	cfg.Timing = impatient()
	w := serve(t, cfg)
	var slow []net.Conn
	for range 200 {
		slow = append(slow, w.dial("POST /execute HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	}
	if a := w.do("GET", "/health", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	for _, conn := range slow {
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatalf("not closed: %v", err)
		}
	}
}

func TestSlowBody(t *testing.T) {
	cfg := config(t, newRunner(t), newSessions())
	cfg.Timing = impatient()
	w := serve(t, cfg)
	conn := w.dial("POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(body), "invalid_request") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if a := w.do("GET", "/status", ""); a.status != 200 {
		t.Errorf("the slot is not free: %s", a.raw)
	}
}

// A body that no handler reads must not hold its connection either.
func TestSlowBodyThatNobodyReads(t *testing.T) {
	cfg := config(t, newRunner(t), newSessions())
	cfg.Timing = impatient()
	w := serve(t, cfg)
	conn := w.dial("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
	raw, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(raw), "HTTP/1.1 404") {
		t.Errorf("%q, %v", raw, err)
	}
}

func TestBodyThatIsCutOff(t *testing.T) {
	w := serve(t, config(t, newRunner(t), newSessions()))
	conn := w.dial("POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n" + minimal)
	_ = conn.Close()
	eventually(t, "the request is over", func() bool { return strings.Contains(w.logs.String(), `"route":"/execute"`) })
	if a := w.do("GET", "/status", ""); a.status != 200 {
		t.Errorf("the slot is not free: %s", a.raw)
	}
}

func TestBodyTooLarge(t *testing.T) {
	for name, length := range map[string]string{"declared": "Content-Length: 3000000\r\n\r\n", "chunked": "Transfer-Encoding: chunked\r\n\r\n2dc6c0\r\n"} {
		cfg := config(t, newRunner(t), newSessions())
		cfg.MaxBody = 1 << 20
		w := serve(t, cfg)
		conn := w.dial("POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + length)
		go func() { _, _ = io.WriteString(conn, `{"userRequest":"`+strings.Repeat("x", 3000000)) }()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(body), "1048576") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		if a := w.do("GET", "/status", ""); a.status != 200 {
			t.Errorf("the slot is not free: %s", a.raw)
		}
	}
}

func TestLargestBodyIsTaken(t *testing.T) {
	r := newRunner(t)
	cfg := config(t, r, newSessions())
	cfg.MaxBody = int64(len(minimal))
	w := serve(t, cfg)
	go func() { r.next().begin("s", 1) }()
	w.stream("POST", "/execute", minimal).cancel()
}

func TestHeadersTooLarge(t *testing.T) {
	w := serve(t, config(t, newRunner(t), newSessions()))
	conn := w.dial("GET /health HTTP/1.1\r\nHost: x\r\n")
	_, _ = fmt.Fprintf(conn, "X-Large: %s\r\n\r\n", strings.Repeat("x", 200<<10))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}
