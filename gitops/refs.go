package gitops

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/remote"
)

const (
	listTimeout = time.Minute
	nearNames   = 3
	// unnamedBranch is where an empty repository's first commit goes whose host does not say otherwise.
	unnamedBranch = "main"
)

// Refs is what a host shows of a repository before anything is fetched.
type Refs struct {
	Branch  string // to start from: the one asked for, else the host's default
	Head    string // its commit; empty in an empty repository
	Default string // the host's default branch; empty if it does not say
	Empty   bool   // there is no commit yet

	branches map[string]string
}

// begun is what is said of a clone before the host says anything.
func (r Refs) begun() string {
	if r.Empty {
		return "The repository is empty"
	}
	return "Fetching " + r.Branch
}

// Has reports whether the host has a branch.
func (r Refs) Has(branch string) bool { return r.branches[branch] != "" }

// Free is the first of branch, branch-2, branch-3, … that the host does not have and could make.
func (r Refs) Free(branch string) string { return free(r.branches, branch, 1) }

// free is the first spelling of a branch, from the n-th on, that is not taken.
func free(branches map[string]string, branch string, n int) string {
	for i, c := range branch {
		if c == '/' && branches[branch[:i]] != "" {
			branch, n = strings.ReplaceAll(branch, "/", "-"), 1 // no number helps below a branch that is in the way
			break
		}
	}
	for ; ; n++ {
		if name := numbered(branch, n); !taken(branches, name) {
			return name
		}
	}
}

// taken reports whether a branch exists, or cannot because of one that does.
func taken(branches map[string]string, name string) bool {
	if branches[name] != "" {
		return true
	}
	for other := range branches {
		if hides(name, other) {
			return true
		}
	}
	return false
}

// Preflight asks the host, with the token, for the branch to start from (empty: the host's default) before anything is
// spent. A branch that is missing is a *BranchNotFoundError; an empty repository has any branch.
func (g *Git) Preflight(ctx context.Context, r Remote, branch string) (Refs, error) {
	if branch != "" {
		if err := ValidBranch(branch); err != nil {
			return Refs{}, fmt.Errorf("look at %s: %w", r.URL, err)
		}
	}
	listing, err := g.list(ctx, r)
	if err != nil {
		return Refs{}, err
	}
	refs := Refs{Branch: branch, Default: listing.Default, Empty: len(listing.Branches) == 0, branches: listing.Branches}
	if refs.Branch == "" {
		refs.Branch = listing.Default
	}
	if refs.Empty {
		if refs.Branch == "" {
			refs.Branch = unnamedBranch
		}
		return refs, nil
	}
	if refs.Head = listing.Branches[refs.Branch]; refs.Head == "" {
		return Refs{}, &BranchNotFoundError{Branch: refs.Branch, Near: near(refs.Branch, listing.Branches)}
	}
	return refs, nil
}

func (g *Git) list(ctx context.Context, r Remote) (remote.Listing, error) {
	limited, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	listing, err := g.client.List(limited, r)
	return listing, timely(ctx, err)
}

// timely makes the end of a step's own time an unreachable host, and leaves the end of the caller's as it is.
func timely(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil && isDeadline(err) {
		return fmt.Errorf("%w: no answer within %v", ErrUnreachable, listTimeout)
	}
	return err
}

// near returns the branches that somebody may have meant: those that contain the name or are contained in it, and those
// a few letters away.
func near(name string, branches map[string]string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	for b := range branches {
		d := distance(strings.ToLower(name), strings.ToLower(b))
		if d <= max(2, len(name)/4) || strings.Contains(b, name) || strings.Contains(name, b) {
			found = append(found, candidate{b, d})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var names []string
	for _, c := range found[:min(len(found), nearNames)] {
		names = append(names, c.name)
	}
	return names
}

// distance counts the single-byte edits between two names; names of very different length are far apart.
func distance(a, b string) int {
	if d := len(a) - len(b); d > 8 || d < -8 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
