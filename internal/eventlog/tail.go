package eventlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// readAhead is how much of the log a tailer takes at a time.
const readAhead = 16 << 10

// Tail reads a log from one place on. It is for one goroutine; only Close may be called from others.
type Tail struct {
	log    *Log
	after  int
	n      int // the number of the last line read
	offset int64
	lines  *bufio.Reader
	close  func()
}

// Tail starts a tailer behind the event with the number after; 0 is the beginning. Close it, or the file stays open.
func (l *Log) Tail(after int) *Tail {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := l.index.find(after)
	t := &Tail{log: l, after: after, n: start.events, offset: start.size}
	t.lines = bufio.NewReaderSize((*tailReader)(t), readAhead)
	t.close = func() {}
	if l.closed {
		t.log = nil
		return t
	}
	l.refs++
	t.close = sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		_ = l.release() // nothing was written through a tailer
	})
	return t
}

// Next waits for the next event and returns its line, without the newline, and its ID. The line is the caller's. After the
// last event of an ended log it is io.EOF; when ctx ends, its cause.
func (t *Tail) Next(ctx context.Context) ([]byte, event.ID, error) {
	if t.log == nil {
		return nil, event.ID{}, fmt.Errorf("read event log: %w", fs.ErrClosed)
	}
	for ctx.Err() == nil {
		var atEnd bool
		var changed <-chan struct{}
		if !t.buffered() { // else nothing is asked of the log, which all tailers share
			atEnd, changed = t.log.progress()
		}
		line, err := t.lines.ReadBytes('\n')
		switch {
		case err == nil:
			t.n++
			if t.n > t.after {
				return line[:len(line)-1], event.ID{Attempt: t.log.cfg.Attempt, N: t.n}, nil
			}
		case !errors.Is(err, io.EOF):
			return nil, event.ID{}, fmt.Errorf("read event log: %w", err)
		case atEnd:
			return nil, event.ID{}, io.EOF
		default:
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
	return nil, event.ID{}, context.Cause(ctx)
}

// buffered reports whether a whole line is in memory.
func (t *Tail) buffered() bool {
	held, _ := t.lines.Peek(t.lines.Buffered())
	return bytes.IndexByte(held, '\n') >= 0
}

// Close lets go of the log. It is idempotent. A Next that waits is ended by its context, not by Close.
func (t *Tail) Close() { t.close() }

// progress tells whether more can come; asked for before a read, an end of file after it is final or waits for changed.
func (l *Log) progress() (atEnd bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == ended, l.changed
}

// tailReader is the visible part of the log as a stream; io.EOF means: no more for now.
type tailReader Tail

func (r *tailReader) Read(p []byte) (int, error) {
	r.log.mu.Lock()
	size := r.log.visible.size
	r.log.mu.Unlock()
	n, err := readAt(r.log.file, p, r.offset, size)
	r.offset += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, err
}
