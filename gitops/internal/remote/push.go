package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// Update moves one branch.
type Update struct {
	Branch   string // without refs/heads/
	Old, New string // commits; Old empty: the branch is made. The host refuses if the branch is not at Old.
	Pack     io.Reader
	Size     int64 // of Pack
}

// Pusher is an open conversation about one push.
type Pusher struct {
	repo    Repo
	session transport.ReceivePackSession
	adv     *packp.AdvRefs
}

// OpenPush begins a push: it asks whether this credential may push at all, and tells what is there now.
func (c *Client) OpenPush(ctx context.Context, repo Repo) (*Pusher, Listing, error) {
	ep, auth, err := c.endpoint(repo)
	if err != nil {
		return nil, Listing{}, err
	}
	session, err := c.transport.NewReceivePackSession(ep, auth)
	if err != nil {
		return nil, Listing{}, classify(ctx, repo.URL, err)
	}
	adv, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return nil, Listing{}, classify(ctx, repo.URL, err)
	}
	return &Pusher{repo: repo, session: session, adv: adv}, listing(adv), nil
}

// Send sends a pack and moves a branch. A *Rejection is the host's word; any other error leaves open whether the branch
// was moved.
func (p *Pusher) Send(ctx context.Context, up Update) error {
	said := &tail{}
	req, err := updateRequest(p.adv, up, said)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", p.repo.URL, ErrUnreachable, err)
	}
	sending, done := context.WithCancel(ctx)
	defer done() // go-git leaves an answer open that it does not understand
	report, err := p.session.ReceivePack(withPack(sending, up.Pack, up.Size), req)
	return outcome(ctx, p.repo, report, err, said)
}

func updateRequest(adv *packp.AdvRefs, up Update, progress io.Writer) (*packp.ReferenceUpdateRequest, error) {
	req := packp.NewReferenceUpdateRequestFromCapabilities(adv.Capabilities)
	for _, c := range []capability.Capability{capability.Sideband64k, capability.OFSDelta} {
		if adv.Capabilities.Supports(c) {
			if err := req.Capabilities.Set(c); err != nil {
				return nil, err
			}
		}
	}
	if !req.Capabilities.Supports(capability.ReportStatus) {
		return nil, fmt.Errorf("the host does not report on pushes")
	}
	req.Progress = progress
	req.Commands = []*packp.Command{{
		Name: plumbing.NewBranchReferenceName(up.Branch), Old: plumbing.NewHash(up.Old), New: plumbing.NewHash(up.New),
	}}
	return req, nil
}

func outcome(ctx context.Context, repo Repo, report *packp.ReportStatus, err error, said *tail) error {
	if report == nil {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		if r := refusal(err); r != nil && ctx.Err() == nil {
			return r
		}
		return classify(ctx, repo.URL, err)
	}
	if report.UnpackStatus != "ok" {
		return &Rejection{Status: "unpack " + words(report.UnpackStatus), Words: said.String(), Links: true}
	}
	for _, status := range report.CommandStatuses {
		if status.Error() != nil {
			return &Rejection{Status: words(status.Status), Words: said.String(), Links: lacksLinks(status.Status)}
		}
	}
	return nil
}

// lacksLinks reports whether git-receive-pack says that objects are missing to which the pack's refer; it says so in no
// other way.
func lacksLinks(status string) bool { return strings.Contains(status, "missing necessary objects") }

// tail keeps the end of what a host writes.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if excess := t.buf.Len() - 2*maxWords; excess > 0 {
		t.buf.Next(excess)
	}
	return len(p), nil
}

func (t *tail) String() string {
	said := strings.TrimSpace(t.buf.String())
	lines := strings.FieldsFunc(said, func(r rune) bool { return r == '\n' || r == '\r' })
	for i, line := range lines {
		lines[i] = words(strings.TrimSpace(line))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
