package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// ErrNoBranch says that the branch to fetch is not there (any more).
var ErrNoBranch = errors.New("the branch does not exist on the git host")

// Want is what to fetch, and what is there already.
type Want struct {
	Branch   string    // without refs/heads/
	Depth    int       // commits; 0: all that Haves do not reach
	Haves    []string  // commits that need not be sent, nor what they reach
	Shallows []string  // commits whose parents are not there
	Progress io.Writer // gets the host's words about its own work; nil: nobody
}

// Fetched is a branch on its way: a pack that is complete but for what Want named.
type Fetched struct {
	Head     string   // the branch's commit
	Shallows []string // commits of the pack whose parents are not in it
	Pack     io.Reader
}

// Fetch asks for a branch and hands it to store, whose error it returns as it is.
func (c *Client) Fetch(ctx context.Context, repo Repo, want Want, store func(Fetched) error) error {
	ep, auth, err := c.endpoint(repo)
	if err != nil {
		return err
	}
	session, err := c.transport.NewUploadPackSession(ep, auth)
	if err != nil {
		return classify(ctx, repo.URL, err)
	}
	adv, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return classify(ctx, repo.URL, err)
	}
	head, ok := adv.References[headsPrefix+want.Branch]
	if !ok {
		return fmt.Errorf("%s: %w: %s", repo.URL, ErrNoBranch, want.Branch)
	}
	req, err := request(adv, head, want)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", repo.URL, ErrUnreachable, err)
	}
	return receive(ctx, repo, session, req, want.Progress, func(f Fetched) error {
		f.Head = head.String()
		return store(f)
	})
}

func request(adv *packp.AdvRefs, head plumbing.Hash, want Want) (*packp.UploadPackRequest, error) {
	req := packp.NewUploadPackRequestFromCapabilities(adv.Capabilities)
	req.Wants = []plumbing.Hash{head}
	req.Haves = hashes(want.Haves)
	if !adv.Capabilities.Supports(capability.Shallow) {
		if len(want.Shallows) > 0 {
			return nil, errors.New("the host knows no shallow clones")
		}
		return req, nil
	}
	if err := req.Capabilities.Set(capability.Shallow); err != nil {
		return nil, err
	}
	req.Shallows = hashes(want.Shallows)
	req.Depth = packp.DepthCommits(want.Depth)
	return req, nil
}

func receive(
	ctx context.Context, repo Repo, session transport.UploadPackSession, req *packp.UploadPackRequest,
	progress io.Writer, store func(Fetched) error,
) error {
	res, err := session.UploadPack(ctx, req)
	if err != nil {
		return classify(ctx, repo.URL, err)
	}
	defer func() { _ = res.Close() }()
	src := &source{Reader: demux(req.Capabilities, res, progress)}
	err = store(Fetched{Shallows: texts(res.Shallows), Pack: src})
	if failure := src.err(); failure != nil { // it explains whatever store says
		return classify(ctx, repo.URL, failure)
	}
	return err
}

func demux(caps *capability.List, r io.Reader, progress io.Writer) io.Reader {
	var kind sideband.Type
	switch {
	case caps.Supports(capability.Sideband64k):
		kind = sideband.Sideband64k
	case caps.Supports(capability.Sideband):
		kind = sideband.Sideband
	default:
		return r
	}
	d := sideband.NewDemuxer(kind, r)
	if progress != nil {
		d.Progress = progress
	}
	return d
}

// source remembers how the reading of the pack failed. A copier that git did not wait for may still be reading.
type source struct {
	io.Reader
	failed atomic.Pointer[error]
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.failed.Store(&err)
	}
	return n, err
}

func (s *source) err() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func hashes(texts []string) []plumbing.Hash {
	out := make([]plumbing.Hash, len(texts))
	for i, t := range texts {
		out[i] = plumbing.NewHash(t)
	}
	return out
}

func texts(hashes []plumbing.Hash) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = h.String()
	}
	return out
}
