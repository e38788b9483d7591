// Package lines is what providers share that talk with a child in lines.
package lines

import (
	"io"
	"sync"
)

// Writer writes to a child from a goroutine of its own: the child may stop reading while its lines are being read, and
// neither side may wait for the other. It is safe for concurrent use.
type Writer struct {
	mu     sync.Mutex
	queue  [][]byte
	closed bool
	more   chan struct{} // has room for one: the queue or closed has changed
}

// NewWriter takes over w and closes it when it is closed itself, or when w fails: a child that has ended takes no more.
func NewWriter(w io.WriteCloser) *Writer {
	q := &Writer{more: make(chan struct{}, 1)}
	go q.loop(w)
	return q
}

// Send queues whole lines. After Close it does nothing.
func (q *Writer) Send(lines []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.queue = append(q.queue, lines)
		q.wake()
	}
}

// Close ends the child's input after what is queued. It is idempotent.
func (q *Writer) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake()
}

func (q *Writer) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

func (q *Writer) loop(w io.WriteCloser) {
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

func (q *Writer) take() (lines [][]byte, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, q.queue = q.queue, nil
	return lines, q.closed
}
