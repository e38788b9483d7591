package claudecode

import (
	"io"
	"sync"
)

// writer writes to the CLI from a goroutine of its own: the CLI may stop reading while its lines are being read, and
// neither side may wait for the other.
type writer struct {
	mu     sync.Mutex
	queue  [][]byte
	closed bool
	more   chan struct{} // has room for one: the queue or closed has changed
}

// newWriter takes over w and closes it when it is closed itself, or when w fails: a CLI that has ended takes no more.
func newWriter(w io.WriteCloser) *writer {
	q := &writer{more: make(chan struct{}, 1)}
	go q.loop(w)
	return q
}

// send queues whole lines. After close it does nothing.
func (q *writer) send(lines []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.queue = append(q.queue, lines)
		q.wake()
	}
}

// close ends the CLI's input after what is queued. It is idempotent.
func (q *writer) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake()
}

func (q *writer) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

func (q *writer) loop(w io.WriteCloser) {
	defer w.Close()
	for {
		lines, closed := q.take()
		for _, one := range lines {
			if _, err := w.Write(one); err != nil {
				return
			}
		}
		if closed {
			return
		}
		<-q.more
	}
}

func (q *writer) take() (lines [][]byte, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, q.queue = q.queue, nil
	return lines, q.closed
}
