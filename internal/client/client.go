// Package client talks to workers over HTTP: it posts jobs, follows their streams until the terminal event whatever
// happens to the connections in between, and asks for sessions.
//
// A job belongs to its worker, not to the connection. So a stream that is cut is picked up again from any worker with
// the ID of the last event seen, and a job that a worker has taken, or may have taken, is never posted a second time.
package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// Config says which workers to talk to, and how patiently. Only BaseURL is required.
type Config struct {
	BaseURL string        // of one worker or of the proxy before many: http://localhost:5000
	APIKey  secret.String // sent with every request; zero: none
	OnRetry func(Retry)   // told before each wait; nil: nobody is

	BusyWait time.Duration // how long, in all, a call waits for a worker that takes it; default 5 minutes, negative: not at all
	LostWait time.Duration // how long, in all, a stream without any progress is waited for; default 2 minutes
	Silence  time.Duration // no byte for so long means a dead connection; default 45 s, three of the worker's heartbeats
	// HeldWait is how long a job that was sent may go without the beginning of an answer: a proxy before the workers holds it while
	// all are busy. Default 11 minutes; longer than the proxy holds it.
	HeldWait  time.Duration
	Transport http.RoundTripper

	Wait  func(ctx context.Context, d time.Duration) error // waits for d or the end of ctx, which is then the error
	Now   func() time.Time
	NewID func() string // a new session's ID
}

// Retry tells that something is about to be tried again.
type Retry struct {
	Err       error         // what went wrong
	Wait      time.Duration // how long from now
	Reconnect bool          // a job's stream was cut; otherwise no worker has taken the request so far
}

// Client is safe for concurrent use. Every call returns soon after its context has ended.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client // for everything but streams
}

// New checks the configuration and fills in its defaults. It does not connect.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%w: server %q: want a URL such as http://localhost:5000", ErrUsage, cfg.BaseURL)
	}
	if base.User != nil {
		return nil, fmt.Errorf("%w: server: no credentials in the URL, please", ErrUsage)
	}
	setDefault(&cfg.BusyWait, 5*time.Minute)
	setDefault(&cfg.LostWait, 2*time.Minute)
	setDefault(&cfg.Silence, 45*time.Second)
	setDefault(&cfg.HeldWait, 11*time.Minute)
	if cfg.Transport == nil {
		cfg.Transport = newTransport()
	}
	if !cfg.APIKey.IsZero() {
		cfg.Transport = withKey{cfg.Transport, cfg.APIKey}
	}
	if cfg.Wait == nil {
		cfg.Wait = wait
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewID == nil {
		cfg.NewID = uuid.NewString
	}
	if cfg.OnRetry == nil {
		cfg.OnRetry = func(Retry) {}
	}
	return &Client{cfg: cfg, base: base, http: &http.Client{Transport: cfg.Transport, CheckRedirect: refuseRedirect}}, nil
}

// Close lets go of idle connections. Calls that are running go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// newTransport is the standard one, but never asks for compression: a proxy that compresses a stream holds it back.
func newTransport() *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return &http.Transport{DisableCompression: true}
	}
	t = t.Clone()
	t.DisableCompression = true
	return t
}

// withKey sends the API key with each request.
type withKey struct {
	http.RoundTripper
	key secret.String
}

// RoundTrip implements http.RoundTripper.
func (t withKey) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+t.key.Reveal())
	return t.RoundTripper.RoundTrip(req)
}

// CloseIdleConnections is for http.Client, which looks for it.
func (t withKey) CloseIdleConnections() {
	if c, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// refuseRedirect hands a redirect to the caller, who makes an error of it: a request carries credentials, which go to
// the server that the user named and nowhere else.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// wait is Config.Wait's default.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// url builds an endpoint's address from path elements, each escaped.
func (c *Client) url(query url.Values, elements ...string) string {
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = u.EscapedPath()
	for _, e := range elements {
		u.Path += "/" + e
		u.RawPath += "/" + url.PathEscape(e)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// checkID refuses what cannot be a session's ID before it becomes part of a URL.
func checkID(id string) error {
	if id == "" || strings.Contains(id, "..") || strings.ContainsFunc(id, badInID) {
		return fmt.Errorf("%w: %q cannot be a session's ID", ErrUsage, id)
	}
	return nil
}

func badInID(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !letter && r != '.' && r != '_' && r != '-'
}

// ended reports the cause of ctx's end, or nil.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
