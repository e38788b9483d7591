package remote

import (
	"context"
	"errors"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

const headsPrefix = "refs/heads/"

// Listing is what a host shows of a repository.
type Listing struct {
	Default  string            // the branch that HEAD stands for; empty if the host does not say, or the repository is empty
	Branches map[string]string // name without refs/heads/ → commit
	Tips     []string          // what every reference shows, each once
}

// List asks for the references. An empty repository is an empty Listing.
func (c *Client) List(ctx context.Context, repo Repo) (Listing, error) {
	ep, auth, err := c.endpoint(repo)
	if err != nil {
		return Listing{}, err
	}
	session, err := c.transport.NewUploadPackSession(ep, auth)
	if err != nil {
		return Listing{}, classify(ctx, repo.URL, err)
	}
	adv, err := session.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return Listing{}, nil
	}
	if err != nil {
		return Listing{}, classify(ctx, repo.URL, err)
	}
	return listing(adv), nil
}

func listing(adv *packp.AdvRefs) Listing {
	l := Listing{Branches: map[string]string{}}
	seen := map[string]bool{}
	for name, hash := range adv.References {
		tip := hash.String()
		if branch, ok := strings.CutPrefix(name, headsPrefix); ok {
			l.Branches[branch] = tip
		}
		if !seen[tip] {
			seen[tip] = true
			l.Tips = append(l.Tips, tip)
		}
	}
	l.Default = defaultBranch(adv, l.Branches)
	return l
}

// defaultBranch reads the symref that HEAD is; hosts that do not tell get git's own guess.
func defaultBranch(adv *packp.AdvRefs, branches map[string]string) string {
	for _, symref := range adv.Capabilities.Get(capability.SymRef) {
		if branch, ok := strings.CutPrefix(symref, "HEAD:"+headsPrefix); ok {
			return branch
		}
	}
	if adv.Head == nil {
		return ""
	}
	for _, guess := range []string{"main", "master"} {
		if branches[guess] == adv.Head.String() {
			return guess
		}
	}
	return ""
}
