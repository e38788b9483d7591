package orchestrator

import (
	"context"
	"fmt"
	"time"
)

// IdleError says that the agent printed nothing for too long, while none of its tools ran. It is an ErrTimeout.
type IdleError struct{ After time.Duration }

func (e *IdleError) Error() string {
	return fmt.Sprintf("the assistant was silent for %s, and none of its tools ran: it was stopped (IDLE_TIMEOUT)", e.After)
}

// Is makes errors.Is(err, ErrTimeout) true.
func (e *IdleError) Is(target error) bool { return target == ErrTimeout }

// silence is how long an agent has printed nothing. Its methods are for one goroutine.
type silence struct {
	after time.Duration
	timer *time.Timer // nil: no limit
}

// watchSilence cancels with an *IdleError after a silence of the given length; 0: never.
func watchSilence(after time.Duration, cancel context.CancelCauseFunc) *silence {
	if after <= 0 {
		return &silence{}
	}
	return &silence{after: after, timer: time.AfterFunc(after, func() { cancel(&IdleError{After: after}) })}
}

// broken begins to count anew, or, while a tool runs, not until the next line.
func (s *silence) broken(toolRuns bool) {
	if s.timer == nil {
		return
	}
	s.timer.Stop()
	if !toolRuns {
		s.timer.Reset(s.after)
	}
}

func (s *silence) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
}
