package worker

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

const (
	sweepEvery = time.Minute // about; and no less often than twenty times in a session's life
	sweepPage  = 20          // sessions that are looked at each time
)

// sweeper deletes sessions that nobody has used for a while, a few at a time.
type sweeper struct {
	sessions *storage.Sessions
	ttl      time.Duration // 0: sessions are kept
	idle     func() bool   // whether the worker has nothing better to do
	log      zerolog.Logger
}

// run sweeps now and then while the worker is idle, until ctx ends. It begins at any session: of many workers each looks at others.
func (s sweeper) run(ctx context.Context) {
	if s.ttl <= 0 {
		return
	}
	every := min(sweepEvery, s.ttl/20)
	for cursor := uuid.NewString(); ; {
		pause := time.NewTimer(every/2 + rand.N(every))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		if s.idle() {
			cursor = s.once(ctx, cursor)
		}
	}
}

func (s sweeper) once(ctx context.Context, cursor string) (next string) {
	next, removed, err := s.sessions.Sweep(ctx, cursor, sweepPage, s.ttl)
	if err != nil && ctx.Err() == nil {
		s.log.Warn().Err(err).Msg("old sessions could not be swept")
	}
	if removed > 0 {
		s.log.Info().Int("sessions", removed).Dur("ttl", s.ttl).Msg("old sessions deleted")
	}
	return next
}
