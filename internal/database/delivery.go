package database

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// A batch is closed by the event that reaches one of these; one event alone may be larger.
const (
	mostEvents = 500
	mostBytes  = 512 << 10
)

// The states of a session in the database.
const (
	active    = "active"
	completed = "completed"
	failed    = "error"
)

// delivery takes one log to the database. All requests are made by one goroutine, one after the other.
type delivery struct {
	client *Client
	url    *url.URL // of the session
	token  secret.String
	log    *eventlog.Log
	tail   *eventlog.Tail
	logger zerolog.Logger

	mu       sync.Mutex
	taken    int   // events that the database has
	failure  error // of the last request; nil after one that succeeded
	tooLarge error // an event was left out
}

// run delivers to the end of the log, or to that of ctx.
func (d *delivery) run(ctx context.Context) {
	defer d.tail.Close()
	err := d.deliver(ctx)
	if missing := d.missing(); err != nil || missing > 0 {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.logger.Warn().AnErr("cause", reason(cmp.Or(d.failure, d.tooLarge))).Err(err).Int("events", missing).Msg("not delivered to the database")
	}
}

// deliver is the whole conversation: the session is active, its events, how it ended. A log without an end is one of a
// session that another worker has taken over, and that one tells the end.
func (d *delivery) deliver(ctx context.Context) error {
	if err := d.setStatus(ctx, active); err != nil {
		return err
	}
	for {
		lines, err := d.gather(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return d.note(err)
		}
		if err := d.post(ctx, lines); err != nil {
			return err
		}
		switch event.TypeOf(lines[len(lines)-1]) {
		case event.TypeCompleted:
			return d.setStatus(ctx, completed)
		case event.TypeError:
			return d.setStatus(ctx, failed)
		}
	}
}

// gather waits for an event and takes those with it that are there, or come soon. A terminal event is the last of its batch.
func (d *delivery) gather(ctx context.Context) (lines [][]byte, err error) {
	line, _, err := d.tail.Next(ctx)
	if err != nil {
		return nil, err
	}
	soon, cancel := context.WithTimeout(ctx, d.client.time.Gather)
	defer cancel()
	for size := 0; err == nil; line, _, err = d.tail.Next(soon) {
		lines = append(lines, line)
		size += len(line)
		if len(lines) == mostEvents || size >= mostBytes || event.Terminal(event.TypeOf(line)) {
			break
		}
	}
	return lines, nil // an error that is none of the pause comes again
}

// post delivers events. A batch that is too large for the database is halved; an event that is by itself is left out.
func (d *delivery) post(ctx context.Context, lines [][]byte) error {
	err := d.send(ctx, http.MethodPost, d.url.JoinPath("chunks"), encode(lines))
	if status := new(statusError); !errors.As(err, &status) || status.code != http.StatusRequestEntityTooLarge {
		if err == nil {
			d.took(len(lines))
		}
		return err
	}
	if len(lines) == 1 {
		d.leaveOut(err)
		return nil
	}
	half := len(lines) / 2
	if err := d.post(ctx, lines[:half]); err != nil {
		return err
	}
	return d.post(ctx, lines[half:])
}

// encode makes a batch of lines that are JSON already.
func encode(lines [][]byte) []byte {
	var body bytes.Buffer
	body.WriteString(`{"events":[`)
	body.Write(bytes.Join(lines, []byte(",")))
	body.WriteString(`]}`)
	return body.Bytes()
}

func (d *delivery) setStatus(ctx context.Context, status string) error {
	body, err := json.Marshal(map[string]string{"status": status})
	if err != nil {
		return err
	}
	return d.send(ctx, http.MethodPatch, d.url, body)
}

func (d *delivery) took(events int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken += events
}

func (d *delivery) leaveOut(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure, d.tooLarge = nil, why
}

// note keeps the outcome of a request, and logs the first failure after a success.
func (d *delivery) note(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && d.failure == nil {
		d.logger.Warn().Err(reason(err)).Msg("the database does not take events")
	}
	d.failure = err
	return err
}

func (d *delivery) missing() int {
	written, _ := d.log.Written()
	d.mu.Lock()
	defer d.mu.Unlock()
	return written - d.taken
}

// undelivered is Follow's result.
func (d *delivery) undelivered() error {
	missing := d.missing()
	d.mu.Lock()
	defer d.mu.Unlock()
	failure := cmp.Or(d.failure, d.tooLarge)
	if failure == nil || missing == 0 {
		return nil
	}
	return fmt.Errorf("the database has not taken %d of this job's events so far: %w", missing, failure)
}
