package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	minTry   = 500 * time.Millisecond
	maxTry   = 10 * time.Second
	minPause = 20 * time.Millisecond
	maxPause = time.Second
)

// try bounds one request for a small object, so that a store that hangs leaves time for other tries: a holder that is
// asleep in a request when the store comes back must still renew before its lease is taken.
func (s *Sessions) try(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, min(max(s.cfg.LeaseTTL/8, minTry), maxTry), errNoAnswer)
}

// retry calls do until its error is not ErrUnavailable. When ctx ends first, the error wraps its cause and ErrUnavailable:
// there was no answer as long as ctx waited for one.
func (s *Sessions) retry(ctx context.Context, do func() error) error {
	longest := min(max(s.cfg.LeaseTTL/16, minPause), maxPause)
	for pause := minPause; ; pause = min(2*pause, longest) {
		err := do()
		if err == nil || !errors.Is(err, ErrUnavailable) && ctx.Err() == nil {
			return err
		}
		if ctx.Err() == nil && sleep(ctx, pause) == nil {
			continue
		}
		return interrupted(context.Cause(ctx), err)
	}
}

// interrupted completes the error of what was tried last when its context ended.
func interrupted(cause, err error) error {
	if errors.Is(cause, ErrReplaced) {
		return ErrReplaced
	}
	for _, missing := range []error{cause, ErrUnavailable} {
		if !errors.Is(err, missing) {
			err = fmt.Errorf("%w: %w", missing, err)
		}
	}
	return err
}
