package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// listWorkers is how many metadata are read at the same time.
const listWorkers = 16

// List returns the metadata of at most limit sessions, in the order of their keys, those after the session cursor; an empty
// cursor is the beginning. next is the cursor of the page behind, empty if there is none. A page can be shorter than limit
// and even empty while there is a next one: what holds no session that can be read is left out, with a line in the log.
func (s *Sessions) List(ctx context.Context, cursor string, limit int) (sessions []Metadata, next string, err error) {
	after := ""
	if cursor != "" {
		after = sessionPrefix + cursor + "/"
	}
	folders, err := s.cfg.Store.Folders(ctx, sessionPrefix, after, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("list sessions: %w", err)
	}
	ids := make([]string, len(folders))
	for i, folder := range folders {
		ids[i] = strings.TrimSuffix(strings.TrimPrefix(folder, sessionPrefix), "/")
	}
	if len(ids) > limit {
		ids = ids[:limit]
		next = ids[limit-1]
	}
	sessions, err = s.readAll(ctx, ids)
	if err != nil {
		return nil, "", fmt.Errorf("list sessions: %w", err)
	}
	return sessions, next, nil
}

// readAll reads the metadata of several sessions in parallel and keeps their order.
func (s *Sessions) readAll(ctx context.Context, ids []string) ([]Metadata, error) {
	all := make([]stored, len(ids))
	errs := make([]error, len(ids))
	jobs := make(chan int)
	var work sync.WaitGroup
	for range min(listWorkers, len(ids)) {
		work.Go(func() {
			for i := range jobs {
				if errs[i] = checkID(ids[i]); errs[i] == nil {
					all[i], errs[i] = s.present(ctx, ids[i])
				}
			}
		})
	}
	for i := range ids {
		jobs <- i
	}
	close(jobs)
	work.Wait()
	var found []Metadata
	for i, m := range all {
		switch err := errs[i]; {
		case err == nil:
			found = append(found, m.Metadata)
		case errors.Is(err, ErrUnavailable) || ctx.Err() != nil:
			return nil, err
		case !errors.Is(err, ErrNotFound):
			s.cfg.Log.Warn().Err(err).Str("session", ids[i]).Msg("session left out of the list")
		}
	}
	return found, nil
}
