package httpapi_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// recorder is a listener whose connections note each write.
type recorder struct {
	net.Listener
	mu     sync.Mutex
	writes []string
}

type recorded struct {
	net.Conn
	by *recorder
}

func (r *recorder) Accept() (net.Conn, error) {
	c, err := r.Listener.Accept()
	return recorded{c, r}, err
}

func (c recorded) Write(p []byte) (int, error) {
	c.by.mu.Lock()
	defer c.by.mu.Unlock()
	c.by.writes = append(c.by.writes, string(p))
	return c.Conn.Write(p)
}

// overheard is a worker whose writes to its sockets are kept.
func overheard(t *testing.T) (*worker, *runner, *recorder) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wire := &recorder{Listener: ln}
	r := newRunner(t)
	return serveOn(t, config(t, r, newSessions()), wire), r, wire
}

// Every frame is in one write to the socket, larger ones than net/http's own buffer included: a client that looks at each
// read of its own sees whole frames.
func TestFramesAreSentInOnePiece(t *testing.T) {
	w, r, wire := overheard(t)
	posted := make(chan *stream, 1)
	go func() { posted <- w.stream("POST", "/execute", minimal) }()
	run := r.next()
	log := run.begin("s", 1)
	sizes := []int{10, 3000, 5000, 9000, 20000, 300000}
	for _, size := range sizes {
		say(t, log, strings.Repeat("x", size))
	}
	run.end(log, nil)
	(<-posted).rest()
	if err := w.wait(); err != nil {
		t.Fatal(err)
	}
	wire.mu.Lock()
	defer wire.mu.Unlock()
	head, frames := wire.writes[0], wire.writes[1:]
	if !strings.HasPrefix(head, "HTTP/1.1 200") || !strings.HasSuffix(head, "\r\n\r\n") {
		t.Errorf("first write %q", head)
	}
	seen := 0
	for i, piece := range frames {
		if seen == len(sizes)+1 {
			break // the stream's end
		}
		if !strings.Contains(piece, fmt.Sprintf("\r\nid: 1-%d\ndata: {", seen+1)) || !strings.HasSuffix(piece, "}\n\n\r\n") {
			t.Errorf("write %d: %.60q, %d bytes", i+1, piece, len(piece))
		}
		seen += strings.Count(piece, "\n\n")
	}
	if seen != len(sizes)+1 {
		t.Errorf("%d frames in %d writes", seen, len(frames))
	}
}

// Frames that are on their way together go together, and in bounded pieces.
func TestSmallFramesGoTogether(t *testing.T) {
	w, r, wire := overheard(t)
	go func() {
		run := r.next()
		log := run.begin("s", 1)
		for range 5000 {
			say(t, log, "a line")
		}
		run.end(log, nil)
	}()
	if events := w.stream("POST", "/execute", minimal).rest(); len(events) != 5001 {
		t.Errorf("%d events", len(events))
	}
	if err := w.wait(); err != nil {
		t.Fatal(err)
	}
	wire.mu.Lock()
	defer wire.mu.Unlock()
	if len(wire.writes) > 4000 {
		t.Errorf("%d writes", len(wire.writes))
	}
	for _, piece := range wire.writes {
		if len(piece) > 32<<10 {
			t.Errorf("a piece of %d bytes", len(piece))
		}
	}
}
