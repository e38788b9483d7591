package lines

import (
	"context"
	"time"
)

// Ending ends a long-lived child that talks in lines: gently after its own end of the work, or when a context ends, and for
// certain after a grace.
type Ending struct {
	In        *Writer
	Interrupt func()          // asks the child to end its turn
	Kill      func()          // the child's whole tree
	Ended     <-chan struct{} // closed when the child has told what the work came to
	Grace     time.Duration   // of an interrupted child, to tell that; and then again, to exit
	ExitGrace time.Duration   // of a child that told it by itself
}

// Watch returns once the child is gone, which is when over is closed, or is killed. It reports whether it was ctx that cut
// the work short.
func (e Ending) Watch(ctx context.Context, over <-chan struct{}) (cut bool) {
	select {
	case <-over:
		return ctx.Err() != nil && !closed(e.Ended) // what ended ctx may have killed the child too
	case <-e.Ended:
		e.In.Close()
		e.killUnless(over, e.ExitGrace, ctx.Done())
		return false
	case <-ctx.Done():
	}
	e.Interrupt()
	if within(e.Grace, e.Ended, over) {
		e.In.Close() // now it exits by itself, and leaves a whole conversation behind
		e.killUnless(over, e.Grace, nil)
	} else {
		e.Kill()
	}
	return true
}

// killUnless kills the child's tree if it is not over within a grace, or as soon as hurry is closed.
func (e Ending) killUnless(over <-chan struct{}, grace time.Duration, hurry <-chan struct{}) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-over:
		return
	case <-timer.C:
	case <-hurry:
	}
	e.Kill()
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// within waits for either of two channels and reports whether that was in time.
func within(grace time.Duration, one, other <-chan struct{}) bool {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-one:
	case <-other:
	case <-timer.C:
		return false
	}
	return true
}
