// Package remote is the worker's only way to a git host: it lists, fetches and pushes over smart HTTP with go-git's
// transport, and decides which addresses are dialled, which redirects are followed and who gets the token. It knows
// nothing of files.
package remote

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const (
	dialTimeout = 15 * time.Second
	// DefaultStall is how long a host may be silent. It covers a slow hook: git keeps such a connection alive every
	// five seconds.
	DefaultStall = 2 * time.Minute
)

// Repo is a repository on a host.
type Repo struct {
	URL   string        // as CheckURL accepts it
	Token secret.String // empty: as nobody
}

// Client talks to git hosts. It is safe for concurrent use.
type Client struct {
	policy    Policy
	transport transport.Transport
}

// announceMultiAck lets go-git say that it knows multi_ack, as Azure DevOps and AWS CodeCommit demand of everybody. It reads
// the answers to a request that holds all it has and says "done", and Fetch sends no others.
var announceMultiAck = sync.OnceFunc(func() {
	transport.UnsupportedCapabilities = []capability.Capability{capability.ThinPack}
})

// NewClient returns a Client that ends a request when the host is silent for stall; 0 is DefaultStall.
func NewClient(p Policy, stall time.Duration) *Client {
	announceMultiAck()
	if stall == 0 {
		stall = DefaultStall
	}
	base := &http.Transport{
		DialContext:         p.dial,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: dialTimeout,
		IdleConnTimeout:     30 * time.Second,
		MaxIdleConns:        4,
	}
	guarded := &guard{base: base, stall: stall}
	return &Client{policy: p, transport: githttp.NewClient(&http.Client{Transport: guarded})}
}

// endpoint checks the URL again and takes it apart; the token goes into the session's own auth, never into a URL.
func (c *Client) endpoint(repo Repo) (*transport.Endpoint, transport.AuthMethod, error) {
	if err := c.policy.CheckURL(repo.URL); err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(repo.URL)
	if err != nil {
		return nil, nil, fmt.Errorf("parse repository URL: %w", err)
	}
	ep := &transport.Endpoint{Protocol: u.Scheme, Host: u.Hostname(), Path: strings.TrimRight(u.EscapedPath(), "/")}
	if strings.Contains(ep.Host, ":") {
		ep.Host = "[" + ep.Host + "]"
	}
	if port := u.Port(); port != "" {
		if ep.Port, err = strconv.Atoi(port); err != nil {
			return nil, nil, fmt.Errorf("parse repository URL: %w", err)
		}
	}
	if repo.Token.IsZero() {
		return ep, nil, nil
	}
	return ep, &githttp.BasicAuth{Username: userFor(u.Hostname()), Password: repo.Token.Reveal()}, nil
}

// userFor is the user name that goes with a token as password. GitHub wants x-access-token for its apps' tokens, GitLab
// oauth2 for OAuth's, and Bitbucket x-token-auth; with personal tokens these and Gitea take any name.
func userFor(host string) string {
	switch host = strings.ToLower(host); {
	case strings.Contains(host, "gitlab"):
		return "oauth2"
	case strings.Contains(host, "bitbucket"):
		return "x-token-auth"
	}
	return "x-access-token"
}
