package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
)

const (
	// segmentSize is where a segment is closed and the next one begins; its last line may reach beyond.
	segmentSize = 1 << 20
	// shipInterval is the least time between two puts while the log changes. Together with pollInterval it keeps readers on
	// other workers less than two seconds behind.
	shipInterval = time.Second
	// shipTimeout bounds one put of a segment, which can be large where an event is.
	shipTimeout = 30 * time.Second
	// maxSegment is more than any segment has: an event's line is at most some times 16 MiB.
	maxSegment = 128 << 20
)

// Ship starts to store the log's events in segments, each within a second or so, until the lease ends. It is called once.
func (l *Lease) Ship(log *eventlog.Log) {
	sh := &shipper{l: l, log: log, turn: make(chan struct{}, 1), segment: segment{first: 1}}
	l.mu.Lock()
	l.shipper = sh
	l.mu.Unlock()
	l.work.Go(sh.run)
}

// Flush returns nil when all that the log holds now is stored, a hidden terminal event included.
func (l *Lease) Flush(ctx context.Context) error {
	l.mu.Lock()
	sh := l.shipper
	l.mu.Unlock()
	if sh == nil {
		return nil
	}
	ctx, cancel := l.bound(ctx)
	defer cancel()
	return l.s.retry(ctx, func() error { return sh.ship(ctx) })
}

// shipper puts a log's segments.
type shipper struct {
	l       *Lease
	log     *eventlog.Log
	turn    chan struct{} // held by whoever ships
	segment segment
}

// segment is the one that is being filled.
type segment struct {
	first   int    // the number of its first event
	start   int64  // its place in the log
	size    int64  // stored of it
	version string // of the stored object; empty: none yet
}

func (sh *shipper) run() {
	for {
		changed := sh.log.Changed()
		err := sh.ship(sh.l.ctx)
		if sh.l.ctx.Err() != nil {
			return
		}
		if err != nil {
			sh.l.log.Warn().Err(err).Msg("events not stored yet")
		}
		if sleep(sh.l.ctx, shipInterval) != nil {
			return
		}
		if err != nil {
			continue
		}
		select {
		case <-changed:
		case <-sh.l.ctx.Done():
			return
		}
	}
}

// ship stores what is in the log and not in storage, one segment after the other.
func (sh *shipper) ship(ctx context.Context) error {
	select {
	case sh.turn <- struct{}{}:
		defer func() { <-sh.turn }()
	case <-ctx.Done():
		return fmt.Errorf("%w: an earlier put still waits: %w", context.Cause(ctx), ErrUnavailable)
	}
	_, end := sh.log.Written()
	for sh.segment.start < end && sh.segment.start+sh.segment.size != end {
		data, err := sh.read(end)
		if err != nil {
			return fmt.Errorf("read the event log: %w", err)
		}
		if err := sh.put(ctx, data); err != nil {
			return err
		}
		if len(data) >= segmentSize {
			sh.segment = segment{
				first: sh.segment.first + bytes.Count(data, []byte("\n")),
				start: sh.segment.start + int64(len(data)),
			}
		}
	}
	return nil
}

// read takes the current segment out of the log: all lines up to end, or to the first line's end behind segmentSize.
func (sh *shipper) read(end int64) ([]byte, error) {
	data := make([]byte, min(end-sh.segment.start, segmentSize))
	if _, err := sh.log.ReadAt(data, sh.segment.start); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	chunk := make([]byte, 64<<10)
	for data[len(data)-1] != '\n' {
		n, err := sh.log.ReadAt(chunk, sh.segment.start+int64(len(data)))
		if n == 0 {
			return nil, err
		}
		rest := chunk[:n]
		if newline := bytes.IndexByte(rest, '\n'); newline >= 0 {
			rest = rest[:newline+1]
		}
		data = append(data, rest...)
	}
	return data, nil
}

// put stores the current segment, whole, under the condition that nobody else has touched it.
func (sh *shipper) put(ctx context.Context, data []byte) error {
	if err := sh.l.Valid(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, shipTimeout, errNoAnswer)
	defer cancel()
	key := segmentKey(sh.l.id, sh.l.attempt, sh.segment.first)
	for {
		version, err := sh.l.s.cfg.Store.PutIf(ctx, key, data, IfVersion(sh.segment.version))
		switch {
		case err == nil:
			sh.segment.version, sh.segment.size = version, int64(len(data))
			return nil
		case !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound):
			return fmt.Errorf("store events: %w", err)
		}
		if err := sh.adopt(ctx, key, data); err != nil {
			return err
		}
	}
}

// adopt takes what is stored for one's own earlier put, whose answer was lost, if it is; anything else is another worker's.
func (sh *shipper) adopt(ctx context.Context, key string, data []byte) error {
	stored, info, err := sh.l.s.get(ctx, key, maxSegment)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt):
		return sh.l.replace(0)
	case err != nil:
		return fmt.Errorf("store events: %w", err)
	case info.Version == sh.segment.version || !ownSegment(stored, data):
		return sh.l.replace(0)
	}
	sh.segment.version = info.Version
	return nil
}

// ownSegment tells whether stored is an earlier state of mine. Its last line is not compared: it may be a terminal event
// that has been rewritten since. It is not mine if it is the word of a worker that closed this attempt.
func ownSegment(stored, mine []byte) bool {
	last := lastLine(stored)
	return bytes.HasPrefix(mine, stored[:len(stored)-len(last)]) && event.IDOf(last).N != event.Lost
}

// lastLine is the last line of a segment, with its newline.
func lastLine(segment []byte) []byte {
	body := bytes.TrimSuffix(segment, []byte("\n"))
	return segment[bytes.LastIndexByte(body, '\n')+1:]
}
