package agentproc

import (
	"context"
	"sync"
)

// calls matches the supervisor's frames with those who wait for them.
type calls struct {
	mu     sync.Mutex
	lastID uint64
	open   map[uint64]*call
	closed bool
}

// call is the waiting for the frames about one ID. A channel is closed when no more can come.
type call struct{ frames chan frame }

func newCalls() *calls { return &calls{open: map[uint64]*call{}} }

func (c *calls) newID() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID++
	return c.lastID
}

// add registers a call; it must come before the request is sent.
func (c *calls) add(id uint64) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := &call{frames: make(chan frame, 2)} // started and exited: nobody makes deliver wait
	if c.closed {
		close(one.frames)
		return one
	}
	c.open[id] = one
	return one
}

// deliver gives a frame to the call it is for, and closes the call with the last one.
func (c *calls) deliver(f frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.open[f.ID]
	if one == nil {
		return
	}
	one.frames <- f
	if f.Op != opStarted || f.Errno != 0 {
		close(one.frames)
		delete(c.open, f.ID)
	}
}

// close ends every call: the supervisor is gone.
func (c *calls) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for id, one := range c.open {
		close(one.frames)
		delete(c.open, id)
	}
}

// last waits for the frame that ends the call, however long that takes; ErrGone if none can come.
func (c *call) last() (frame, error) {
	f, ok := <-c.frames
	if !ok {
		return frame{}, ErrGone
	}
	return f, nil
}

// drain waits for the end of the call, whatever comes before it.
func (c *call) drain() {
	for range c.frames {
	}
}

// wait returns the call's next frame, ErrGone, or the cause of ctx's end.
func (c *call) wait(ctx context.Context) (frame, error) {
	select {
	case f, ok := <-c.frames:
		if !ok {
			return frame{}, ErrGone
		}
		return f, nil
	case <-ctx.Done():
		return frame{}, context.Cause(ctx)
	}
}
