// Package eventlog is the log of one job: an append-only file of events, one JSON line each, and any number of tailers
// that read it, each at its own pace. The file is the only buffer between the job and its readers, so a reader that
// is slow, or gone, costs the job nothing, and the memory used does not grow with the log.
package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// ErrEnded is what an Append gets after Finish, Abandon or Close.
var ErrEnded = errors.New("the event log has ended")

// Log is one attempt's log. It is safe for concurrent use.
type Log struct {
	cfg  Config
	file *os.File

	mu       sync.Mutex
	state    state
	all      extent // what the file holds
	reserved int64  // bytes of the file that have their place on the disk
	visible  extent // what tailers may see of it
	index    index
	changed  chan struct{} // closed at the next change
	over     chan struct{} // closed when the state is ended
	refs     int           // open tailers, and one for the log itself
	closed   bool
}

// extent is a number of whole lines and their length in bytes.
type extent struct {
	events int
	size   int64
}

// state is how far a log has come.
type state int

const (
	open     state = iota
	finished       // the terminal event is written and hidden
	ended          // revealed or abandoned: nothing changes any more
)

// Config is what a Log is made of.
type Config struct {
	Path    string                   // of its file, which the log creates and removes
	Attempt int                      // stands in every event's ID
	Now     func() time.Time         // gives the events their timestamps
	Scrub   func(text []byte) []byte // takes secrets out of an encoded body and keeps it JSON; nil: none
}

// Create makes the log of an attempt in a new file of mode 0600. A file that is already there was left behind by
// another log, and is replaced.
func Create(cfg Config) (*Log, error) {
	if err := os.Remove(cfg.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("create event log: %w", err)
	}
	file, err := os.OpenFile(cfg.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create event log: %w", err)
	}
	l := &Log{cfg: cfg, file: file, index: newIndex(), changed: make(chan struct{}), over: make(chan struct{}), refs: 1}
	if err := l.reserve(0, forWorker); err != nil {
		return nil, errors.Join(fmt.Errorf("create event log: %w", err), l.Close())
	}
	return l, nil
}

// Attempt is the number that stands in every event's ID.
func (l *Log) Attempt() int { return l.cfg.Attempt }

// Append writes the next event; tailers see it at once. An event that could not be written has no number: the next one
// gets it. After the end it is ErrEnded. When the disk is full, an agent's event fails while there is still room for the
// worker's own, and those while there is room for the terminal one.
func (l *Log) Append(b event.Body) (event.ID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != open {
		return event.ID{}, ErrEnded
	}
	id, err := l.write(b)
	if err != nil {
		return event.ID{}, err
	}
	l.visible = l.all
	l.broadcast()
	return id, nil
}

// Finish writes the terminal event. It is hidden from tailers until Reveal, and Append is an error from here on.
// While it is hidden, another Finish replaces it: the same ID, another outcome.
func (l *Log) Finish(b event.Body) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == ended {
		return ErrEnded
	}
	l.all = l.visible
	if _, err := l.write(b); err != nil {
		return err
	}
	l.state = finished
	l.broadcast()
	return nil
}

// Reveal shows the terminal event; tailers end after it. Without one, or after the end, it does nothing.
func (l *Log) Reveal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != finished {
		return
	}
	l.visible = l.all
	l.end()
}

// Abandon ends the log where tailers see it now: they end without a terminal event, and a hidden one stays hidden.
// After Reveal it does nothing.
func (l *Log) Abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
}

// Ended is closed once the log was revealed or abandoned: nothing changes any more.
func (l *Log) Ended() <-chan struct{} { return l.over }

// Written is how many events the log holds and their length in bytes, a hidden terminal event included.
func (l *Log) Written() (events int, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.events, l.all.size
}

// Changed is closed at the next change of the log. Take it before Written, and no change is missed.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// ReadAt reads the log's bytes as io.ReaderAt, a hidden terminal event included. Every line ends in a newline, and
// Written is always the end of one.
func (l *Log) ReadAt(p []byte, off int64) (int, error) {
	l.mu.Lock()
	size := l.all.size
	l.mu.Unlock()
	return readAt(l.file, p, off, size)
}

// Close ends the log and removes its file. Tailers that are open read on to the end; new ones get fs.ErrClosed.
// It is idempotent.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.end()
	return errors.Join(os.Remove(l.cfg.Path), l.release())
}

// write puts b behind the last whole line; what a failed write left there is overwritten by the next.
func (l *Log) write(b event.Body) (event.ID, error) {
	id := event.ID{Attempt: l.cfg.Attempt, N: l.all.events + 1}
	line, err := event.Event{ID: id, Time: l.cfg.Now(), Body: b}.MarshalJSON()
	if err != nil {
		return event.ID{}, fmt.Errorf("append event %s: %w", id, err)
	}
	line = append(l.scrub(line), '\n')
	if err := l.reserve(int64(len(line)), left(b)); err != nil {
		return event.ID{}, fmt.Errorf("append event %s: %w", id, err)
	}
	if _, err := l.file.WriteAt(line, l.all.size); err != nil {
		return event.ID{}, fmt.Errorf("append event %s: %w", id, err)
	}
	l.index.add(l.all)
	l.all.events++
	l.all.size += int64(len(line))
	return id, nil
}

// scrub leaves type, ID and timestamp alone: a caller whose secret is "completed" must not change what an event is.
func (l *Log) scrub(line []byte) []byte {
	if l.cfg.Scrub == nil {
		return line
	}
	const last = `"timestamp":"`
	header := bytes.Index(line, []byte(last)) + len(last) + len(event.TimeFormat)
	return slices.Concat(line[:header], l.cfg.Scrub(line[header:]))
}

func (l *Log) end() {
	if l.state != ended {
		l.state = ended
		close(l.over)
		l.broadcast()
	}
}

func (l *Log) broadcast() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// release drops one reference; the last one closes the file.
func (l *Log) release() error {
	l.refs--
	if l.refs > 0 {
		return nil
	}
	return l.file.Close()
}

// readAt is file.ReadAt within the first size bytes.
func readAt(file *os.File, p []byte, off, size int64) (int, error) {
	if off >= size {
		return 0, io.EOF
	}
	if rest := size - off; int64(len(p)) > rest {
		n, err := file.ReadAt(p[:rest], off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return file.ReadAt(p, off)
}
