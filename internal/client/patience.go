package client

import (
	"context"
	"errors"
	"time"
)

// Waits double from the first to the second.
const (
	busyMin, busyMax           = time.Second, 30 * time.Second
	reconnectMin, reconnectMax = 250 * time.Millisecond, 10 * time.Second
)

// patience hands out waits that grow, until they come to more than budget in all.
type patience struct {
	budget, spent time.Duration
	first, top    time.Duration
	current       time.Duration
}

func newPatience(budget, first, top time.Duration) *patience {
	return &patience{budget: budget, first: first, top: top, current: first}
}

// next is the next wait, at least atLeast; false: the patience is used up.
func (p *patience) next(atLeast time.Duration) (time.Duration, bool) {
	d := max(p.current, atLeast)
	if p.spent += d; p.spent > p.budget {
		return 0, false
	}
	p.current = min(2*p.current, p.top)
	return d, true
}

func (p *patience) reset() { p.current, p.spent = p.first, 0 }

// pause tells of the retry and waits for its turn; false: the patience is used up. The error is that of ctx's end.
func (c *Client) pause(ctx context.Context, p *patience, retry Retry) (bool, error) {
	var answer *APIError
	var atLeast time.Duration
	if errors.As(retry.Err, &answer) {
		atLeast = answer.RetryAfter
	}
	d, ok := p.next(atLeast)
	if !ok {
		return false, nil
	}
	retry.Wait = d
	c.cfg.OnRetry(retry)
	return true, c.cfg.Wait(ctx, d)
}
