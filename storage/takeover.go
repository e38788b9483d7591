package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// listPage is how many objects are listed at a time.
const listPage = 1000

// listAll lists page after page.
func (s *Sessions) listAll(ctx context.Context, prefix, after string) ([]Info, error) {
	var all []Info
	for {
		tryCtx, cancel := s.try(ctx)
		page, err := s.cfg.Store.List(tryCtx, prefix, after, listPage)
		cancel()
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < listPage {
			return all, nil
		}
		after = page[len(page)-1].Key
	}
}

// closeDead closes every earlier attempt that is not known to have ended, and starts to sweep up behind them.
func (l *Lease) closeDead(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, max(l.s.cfg.LeaseTTL, maxTry), errNoAnswer)
	defer cancel()
	ctx, cancelBound := l.bound(ctx)
	defer cancelBound()
	var terminals [][]byte
	for dead := l.from.ClosedThrough + 1; dead < l.attempt; dead++ {
		err := l.s.retry(ctx, func() error {
			terminal, err := l.s.closeAttempt(ctx, l.id, dead)
			if err == nil {
				terminals = append(terminals, terminal)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("close attempt %d: %w", dead, err)
		}
	}
	if l.Resumed() {
		l.work.Go(l.sweep)
	}
	if len(terminals) == 0 {
		return nil
	}
	return l.Update(ctx, func(m *Metadata) {
		m.ClosedThrough = l.attempt - 1
		for _, terminal := range terminals {
			mend(m, terminal)
		}
	})
}

// mend makes up for the last move of an attempt whose worker died between its terminal event and that move.
func mend(m *Metadata, terminal []byte) {
	var said struct {
		Branch     string       `json:"branch"`
		CommitHash string       `json:"commitHash"`
		Pushed     bool         `json:"pushed"`
		Usage      *event.Usage `json:"usage"`
	}
	if json.Unmarshal(terminal, &said) != nil {
		return
	}
	if m.GitHub != nil && said.Pushed && said.CommitHash != "" {
		m.GitHub.Branch, m.GitHub.Pushed = said.Branch, said.CommitHash
	}
	if said.Usage != nil {
		m.Usage.Add(*said.Usage)
	}
}

// closeAttempt gives an attempt its terminal event if it has none, and returns that event. It may be called again and by
// several: only one of them writes.
func (s *Sessions) closeAttempt(ctx context.Context, id string, attempt int) (terminal []byte, err error) {
	for {
		segments, err := s.listAll(ctx, attemptKey(id, attempt), "")
		if err != nil {
			return nil, err
		}
		terminal, err := s.appendLost(ctx, id, attempt, segments)
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) {
			return terminal, err
		}
	}
}

// appendLost appends worker_lost to the last segment; a conflict means that there is another last segment, or state of it.
func (s *Sessions) appendLost(ctx context.Context, id string, attempt int, segments []Info) (terminal []byte, err error) {
	lost, err := s.lostEvent(id, attempt)
	if err != nil {
		return nil, err
	}
	key, cond, data := segmentKey(id, attempt, 1), IfAbsent, []byte(nil)
	if len(segments) > 0 {
		key = segments[len(segments)-1].Key
		var info Info
		if data, info, err = s.get(ctx, key, maxSegment); err != nil {
			return nil, err
		}
		if last := lastLine(data); event.Terminal(event.TypeOf(last)) {
			return last, nil
		}
		cond = IfVersion(info.Version)
	}
	if _, err := s.cfg.Store.PutIf(ctx, key, slices.Concat(data, lost, []byte("\n")), cond); err != nil {
		return nil, err
	}
	return lost, nil
}

// lostEvent is the last event of an attempt whose worker died, as a line without its newline.
func (s *Sessions) lostEvent(id string, attempt int) ([]byte, error) {
	return event.Event{
		ID:   event.ID{Attempt: attempt, N: event.Lost},
		Time: s.cfg.Now(),
		Body: event.Failed{
			Error: "the worker of this job was lost; resume the session to go on",
			Code:  event.WorkerLost, SessionID: id,
		},
	}.MarshalJSON()
}

// sweep deletes what earlier attempts have left and nothing names: snapshots that were never finished or never named, and
// aborts. Nobody names any of it again, because this worker alone moves the metadata, so it is safe even after a freeze. The
// snapshot that this attempt began with is left to its last move, however soon another one is named.
func (l *Lease) sweep() {
	named := l.from.snapshotObjects()
	var keys []string
	for _, prefix := range []string{snapshotsKey(l.id), abortsKey(l.id)} {
		found, err := l.s.listAll(l.ctx, prefix, "")
		if err != nil {
			l.log.Debug().Err(err).Msg("leftovers not listed")
			return
		}
		for _, info := range found {
			attempt, ok := attemptOf(info.Key, prefix)
			isNamed := slices.ContainsFunc(named, func(name string) bool { return sessionKey(l.id, name) == info.Key })
			if ok && attempt < l.attempt && !isNamed {
				keys = append(keys, info.Key)
			}
		}
	}
	if err := l.s.cfg.Store.Delete(l.ctx, keys...); err != nil {
		l.log.Debug().Err(err).Msg("leftovers not deleted")
	}
}
