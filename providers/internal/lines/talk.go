package lines

import (
	"context"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// Talk is with a long-lived child, in lines. Run ends the child gently after its own end of the work, or when a context ends,
// and for certain after a grace.
type Talk struct {
	Child     *agentproc.Process
	In        *Writer
	Interrupt func()          // asks the child to end its turn
	Ended     <-chan struct{} // closed when the child has told what the work came to
	Grace     time.Duration   // of an interrupted child, to tell that; and then again, to exit
	ExitGrace time.Duration   // of a child that told it by itself
}

// Run gives every line of the child to line, in the caller's goroutine, until the child is gone. exit is how it exited. err is
// what cut the work short: ctx's cause, or the error of line or of the reading, after which the child is killed.
func (t Talk) Run(ctx context.Context, line func([]byte) error) (exit, err error) {
	over, cut := make(chan struct{}), make(chan bool, 1)
	go func() { cut <- t.watch(ctx, over) }()
	if err = t.Child.Lines(line); err != nil {
		t.Child.Kill()
	}
	exit = t.Child.Wait()
	close(over)
	wasCut := <-cut
	t.In.Close()
	if err == nil && wasCut {
		err = context.Cause(ctx)
	}
	return exit, err
}

// watch returns once the child is gone, which is when over is closed, or is killed. It reports whether it was ctx that cut
// the work short.
func (t Talk) watch(ctx context.Context, over <-chan struct{}) (cut bool) {
	select {
	case <-over:
		return ctx.Err() != nil && !closed(t.Ended) // what ended ctx may have killed the child too
	case <-t.Ended:
		t.In.Close()
		t.killUnless(over, t.ExitGrace, ctx.Done())
		return false
	case <-ctx.Done():
	}
	t.Interrupt()
	if within(t.Grace, t.Ended, over) {
		t.In.Close() // now it exits by itself, and leaves a whole conversation behind
		t.killUnless(over, t.Grace, nil)
	} else {
		t.Child.Kill()
	}
	return true
}

// killUnless kills the child's tree if it is not over within a grace, or as soon as hurry is closed.
func (t Talk) killUnless(over <-chan struct{}, grace time.Duration, hurry <-chan struct{}) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-over:
		return
	case <-timer.C:
	case <-hurry:
	}
	t.Child.Kill()
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
