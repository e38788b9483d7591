package httpapi_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// sessions is a session store in memory. A nil function is not to be called.
type sessions struct {
	mu      sync.Mutex
	stored  map[string][]string // the lines of each session
	changed chan struct{}
	ping    func(context.Context) error
	abort   func(id string) (bool, error)
	list    func(cursor string, limit int) ([]storage.Metadata, string, error)
	err     error // of every reading
	saved   *snapshot.Ref
}

func newSessions() *sessions {
	return &sessions{stored: make(map[string][]string), changed: make(chan struct{})}
}

// add stores a session's event.
func (s *sessions) add(id string, e event.Event) {
	line, err := e.MarshalJSON()
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[id] = append(s.stored[id], string(line))
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *sessions) read(id string) (lines []string, changed chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, nil, s.err
	}
	lines, ok := s.stored[id]
	if !ok {
		return nil, nil, fmt.Errorf("session %s: %w", id, storage.ErrNotFound)
	}
	return lines, s.changed, nil
}

func (s *sessions) Ping(ctx context.Context) error { return s.ping(ctx) }

func (s *sessions) Metadata(_ context.Context, id string) (storage.Metadata, error) {
	lines, _, err := s.read(id)
	m := storage.Metadata{SessionID: id}
	if len(lines) > 0 {
		m.Attempt = event.IDOf([]byte(lines[len(lines)-1])).Attempt
	}
	return m, err
}

func (s *sessions) List(_ context.Context, cursor string, limit int) ([]storage.Metadata, string, error) {
	return s.list(cursor, limit)
}

func (s *sessions) Events(_ context.Context, id string, after event.ID, emit func([]byte) error) error {
	lines, _, err := s.read(id)
	for _, line := range lines {
		if err == nil && after.Before(event.IDOf([]byte(line))) {
			err = emit([]byte(line))
		}
	}
	return err
}

func (s *sessions) Follow(ctx context.Context, id string, after event.ID, emit func([]byte) error) error {
	for {
		lines, changed, err := s.read(id)
		if err != nil {
			return err
		}
		for _, line := range lines {
			if !after.Before(event.IDOf([]byte(line))) {
				continue
			}
			if err := emit([]byte(line)); err != nil {
				return err
			}
			after = event.IDOf([]byte(line))
		}
		if n := len(lines); n > 0 && event.Terminal(event.TypeOf([]byte(lines[n-1]))) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *sessions) Delete(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.stored, id)
	return s.err
}

func (s *sessions) RequestAbort(_ context.Context, id string) (bool, error) { return s.abort(id) }

func (s *sessions) Snapshot(_ context.Context, id string) (*snapshot.Ref, snapshot.Getter, error) {
	_, _, err := s.read(id)
	return s.saved, nil, err
}
