// Package database passes a job's events on to a database of the client's own, over HTTP: in order, in batches, again and
// again while it is away. It reads the job's log as every reader does. So it costs the job nothing, and what is not
// delivered yet lies in the log's file and not in memory.
package database

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// Config is what a Client works with.
type Config struct {
	BaseURL string // http or https
	Timing  Timing
}

// Timing is how patient a Client is. Its zero value is what a worker uses.
type Timing struct {
	Try     time.Duration // for one request; 0: 10 s
	Gather  time.Duration // a batch waits so long for more events; 0: 200 ms
	Pause   time.Duration // before the second try, about; later ones wait longer; 0: 500 ms
	Longest time.Duration // pause between two tries, about, unless the database asks for more; 0: 2 s
}

// Client delivers to one database. It is safe for concurrent use.
type Client struct {
	base *url.URL
	time Timing
	http *http.Client

	ctx        context.Context // ends when nothing is tried any more
	giveUp     context.CancelFunc
	deliveries sync.WaitGroup
}

// New makes a Client; nothing is asked of the database yet. Close it.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the database's address: %w", err)
	}
	c := &Client{base: base, time: cfg.Timing.withDefaults(), http: &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true},
		// A redirect is an answer like any other: the token goes to the database that was configured, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	c.ctx, c.giveUp = context.WithCancel(context.Background())
	return c, nil
}

func (t Timing) withDefaults() Timing {
	for field, fallback := range map[*time.Duration]time.Duration{
		&t.Try: 10 * time.Second, &t.Gather: 200 * time.Millisecond, &t.Pause: 500 * time.Millisecond, &t.Longest: 2 * time.Second,
	} {
		if *field == 0 {
			*field = fallback
		}
	}
	return t
}

// Follow begins to deliver a job's events under a session's ID, up to the end of the log, and returns at once. Of ctx only the
// logger is used. undelivered may be called at any time: it says how much the database has not taken so far, and why, and is nil while
// nothing stands in the way; its text is fit for the job's client.
func (c *Client) Follow(ctx context.Context, session string, token secret.String, log *eventlog.Log) (undelivered func() error) {
	d := &delivery{
		client: c, url: c.base.JoinPath("sessions", url.PathEscape(session)), token: token,
		log: log, tail: log.Tail(0), logger: *zerolog.Ctx(ctx),
	}
	c.deliveries.Go(func() { d.run(c.ctx) })
	return d.undelivered
}

// Close waits until the logs that have ended are delivered, but not longer than to the end of ctx. What is not delivered by
// then is given up, which the job's log tells.
func (c *Client) Close(ctx context.Context) {
	defer c.http.CloseIdleConnections()
	defer c.deliveries.Wait()
	defer context.AfterFunc(ctx, c.giveUp)()
	c.deliveries.Wait()
	c.giveUp()
}
