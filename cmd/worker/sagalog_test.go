package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// tells checks that the stored log still has these lines.
func (s *saga) tells(before [][]byte) {
	s.t.Helper()
	now := s.history()
	for _, line := range before {
		if !slices.ContainsFunc(now, func(l []byte) bool { return bytes.Equal(l, line) }) {
			s.c.count(func(t *tally) { t.lateLost++ })
			s.t.Errorf("the stored log has lost %.300s", line)
		}
	}
}

// remembered checks the stored log against what a reader had seen until the worker came to its end at the given time.
// Storage took up to slowest to answer meanwhile.
func (s *saga) remembered(seen []sighting, end time.Time, slowest time.Duration) {
	s.t.Helper()
	if slowest > promptly {
		s.t.Logf("storage took %v to answer", slowest)
		s.c.count(func(t *tally) { t.slow++ })
	}
	stored := map[event.ID][]byte{}
	for _, line := range s.history() {
		stored[event.IDOf(line)] = line
	}
	told := len(seen) > 0 && event.Terminal(event.TypeOf(seen[len(seen)-1].line))
	var lost []sighting
	var oldest time.Duration
	for _, e := range seen {
		if line, ok := stored[event.IDOf(e.line)]; !ok {
			lost = append(lost, e)
			oldest = max(oldest, end.Sub(e.at))
		} else if !bytes.Equal(line, e.line) {
			s.t.Errorf("seen  %.300s\nstored %.300s", e.line, line)
		}
	}
	s.c.count(func(t *tally) { t.events += len(seen) })
	if slowest > promptly && !told {
		return
	}
	tooLate := 0
	if len(lost) > 0 && (told || oldest > storedWithin) {
		tooLate = len(lost)
		s.t.Errorf("%d events are lost, up to %v old, the first one is %.300s", tooLate, oldest, lost[0].line)
	}
	s.c.count(func(t *tally) {
		t.unsaid += len(lost)
		t.oldest = max(t.oldest, oldest)
		t.lateLost += tooLate
	})
}

// ordered checks the stored log by itself: in each attempt the numbers have no gaps, and there is one end, at its end.
func (s *saga) ordered() {
	s.t.Helper()
	last, ended := event.ID{}, true
	for _, line := range s.history() {
		id := event.IDOf(line)
		switch {
		case bytes.Contains(line, []byte(gitToken)):
			s.t.Errorf("the token is in the log: %s", line)
		case id.Attempt == last.Attempt && !ended && (id.N == last.N+1 || id.N == event.Lost):
		case id.Attempt == last.Attempt+1 && ended && (id.N == 1 || id.N == event.Lost):
		default:
			s.t.Errorf("the log goes on from %s (the end: %v) with %s", last, ended, id)
		}
		last, ended = id, event.Terminal(event.TypeOf(line))
	}
	if !ended {
		s.t.Errorf("the log has no end: %s", last)
	}
}

// clock measures how long storage takes to answer, until the function that it returns is called; that tells the longest time.
// A machine that is too busy for storage cannot tell anything about what a worker promises of it.
func (s *saga) clock() (slowest func() time.Duration) {
	ctx, cancel := context.WithCancel(s.t.Context())
	longest := make(chan time.Duration, 1)
	go func() {
		most := time.Duration(0)
		for ctx.Err() == nil {
			begun := time.Now()
			_ = s.store.Put(context.WithoutCancel(ctx), "clock-"+s.id, strings.NewReader("tick"))
			most = max(most, time.Since(begun))
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		longest <- most
	}()
	s.t.Cleanup(cancel)
	return func() time.Duration {
		cancel()
		return <-longest
	}
}
