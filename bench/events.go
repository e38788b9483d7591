package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// eventCount is the number of lines that the assistant prints.
const eventCount = 100_000

// events measures how fast the lines of one job reach all of its readers: while it prints them, and once more readers that
// come when all is printed.
func (b *bench) events(ctx context.Context) error {
	for _, of := range []struct {
		readers int
		aim     string
	}{{1, "≥ 100000/s"}, {10, "≥ 20000/s"}, {100, ""}} {
		var live, late []float64
		var memory []int64
		for range b.heavy() {
			r, err := b.eventRound(ctx, of.readers)
			if err != nil {
				return err
			}
			live, late, memory = append(live, r.live), append(late, r.late), append(memory, r.memory)
		}
		name := fmt.Sprintf("%d events, %d readers: ", eventCount, of.readers)
		row(name+"as they come", of.aim, perSecond, live)
		row(name+"all there", of.aim, perSecond, late)
		row(name+"RSS at most", "", megabytes, memory)
	}
	return nil
}

// eventResult are events per second, to the last of the readers, and the most memory that the worker took.
type eventResult struct {
	live, late float64
	memory     int64
}

const eventSession = "events"

func (b *bench) eventRound(ctx context.Context, readers int) (eventResult, error) {
	p, err := b.start(ctx, map[string]string{"STORAGE_DIR": filepath.Join(b.dir, fmt.Sprintf("events-store-%d", b.workers))})
	if err != nil {
		return eventResult{}, err
	}
	defer p.kill()
	printing, over := filepath.Join(b.dir, fmt.Sprintf("print-%d", b.workers)), filepath.Join(b.dir, fmt.Sprintf("over-%d", b.workers))
	script := fmt.Sprintf(`until [ -e %s ]; do sleep 0.02; done
seq -f 'line %%.0f of the output, with some more words in it, as the lines of an assistant have' %d
until [ -e %s ]; do sleep 0.02; done`, printing, eventCount, over)
	first, err := p.post(ctx, request(script, eventSession, ""))
	if err != nil {
		return eventResult{}, err
	}
	defer first.Close()
	var r eventResult
	if r.live, err = b.readAll(ctx, p, readers, first, printing); err != nil {
		return r, err
	}
	if r.late, err = b.readAll(ctx, p, readers, nil, ""); err != nil {
		return r, err
	}
	r.memory = p.memory("VmHWM")
	if err := os.WriteFile(over, nil, 0o644); err != nil {
		return r, err
	}
	_, _ = io.Copy(io.Discard, first)
	return r, p.exit()
}

// readAll lets so many readers read all lines at once, the given one among them, and returns the rate at which the slowest
// of them got them, from the first line that one of them saw. The file that it makes is what the script waits for.
func (b *bench) readAll(ctx context.Context, p *process, readers int, given io.ReadCloser, file string) (float64, error) {
	var bodies []io.ReadCloser
	if given != nil {
		bodies = append(bodies, given)
	}
	for len(bodies) < readers {
		body, err := p.follow(ctx, eventSession)
		if err != nil {
			return 0, err
		}
		defer body.Close()
		bodies = append(bodies, body)
	}
	if file != "" {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return 0, err
		}
	}
	begun, errs := make([]time.Time, readers), make([]error, readers)
	var reading sync.WaitGroup
	for i, body := range bodies {
		reading.Go(func() { begun[i], errs[i] = readLines(body) })
	}
	reading.Wait()
	last := time.Now()
	first := last
	for _, at := range begun {
		if at.Before(first) {
			first = at
		}
	}
	return eventCount / last.Sub(first).Seconds(), errors.Join(errs...)
}

// readLines reads up to the last line of the script and returns when the first one came.
func readLines(body io.Reader) (first time.Time, err error) {
	lines := 0
	err = read(body, func(data []byte) (bool, error) {
		if !bytes.HasPrefix(data, []byte(`{"type":"assistant_message"`)) {
			return false, nil
		}
		if lines++; lines == 1 {
			first = time.Now()
		}
		return lines == eventCount, nil
	})
	return first, err
}
