// Package gitops brings a repository to the agent and the agent's work back to its host. It keeps two repositories
// apart: the vault, which only the worker writes and which alone meets the host with the caller's token, and the
// checkout, which is the agent's, and in which git runs under the agent's uid, without any credential. Objects go
// between them as packs over pipes, and are checked on their way into the vault.
package gitops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/fetch"
	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/remote"
	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// What can go wrong; errors.Is finds these in every error of this package, and beside them only the causes of contexts,
// *BranchNotFoundError and faults of the worker's own disk. None of their texts holds a credential.
var (
	ErrAuth           = remote.ErrAuth         // 401: no token, or one that is not accepted
	ErrForbidden      = remote.ErrForbidden    // 403: the token may not do this
	ErrRepoNotFound   = remote.ErrRepoNotFound // or hidden from this token, or no repository at all
	ErrUnreachable    = remote.ErrUnreachable  // network, TLS, silence, 429, 5xx
	ErrBlockedAddress = remote.ErrBlocked      // by Config.AllowedHosts, or not a public address
	ErrRedirect       = remote.ErrRedirect
	ErrPushRejected   = errors.New("the git host rejected the push")
	ErrDiverged       = fmt.Errorf("%w: the branch has other commits", ErrPushRejected)
	ErrNameTaken      = fmt.Errorf("%w: a branch of this name cannot be made beside", ErrPushRejected)
	ErrConflict       = errors.New("the commits cannot be put on top of the branch's")
	ErrNoCheckout     = errors.New("the workspace holds no checkout")
	ErrBadCheckout    = errors.New("the checkout's repository is damaged")
	ErrBadObjects     = vault.ErrBadPack // the host's, or the agent's
	ErrLimit          = vault.ErrLimit   // of Config.Limits
)

// BranchNotFoundError says that the host has no such branch.
type BranchNotFoundError struct {
	Branch string   // empty: the host's default, which stands for none
	Near   []string // branches with similar names, the likeliest first
}

func (e *BranchNotFoundError) Error() string {
	text := fmt.Sprintf("the branch %q does not exist", e.Branch)
	if e.Branch == "" {
		text = "the repository has no default branch, or one without a commit: name the branch to start from"
	}
	if len(e.Near) > 0 {
		text += ": did you mean " + strings.Join(e.Near, ", ") + "?"
	}
	return text
}

// Config says how git is used.
type Config struct {
	StateDir     string   // vaults are made in it; it must exist
	Path         string   // where git is looked for; empty: agentproc.DefaultPath
	AllowHTTP    bool     // accept http URLs
	AllowedHosts []string // globs over host or host:port; empty: any host with a public address. A host that is not public must be named.
	AuthorName   string   // of commits
	AuthorEmail  string
	Stall        time.Duration // how long a host may be silent; 0: two minutes
	Limits       Limits
	Env          []string // of the processes that fetch, beside what they need: as SSL_CERT_FILE=…
}

// Limits bound what a repository may take of the worker. What goes beyond one is ErrLimit. 0 is the default.
type Limits struct {
	Time   time.Duration // of one clone, or of meeting the remote again; 10 minutes
	Bytes  int64         // of what is transferred at once, and of a branch's files; 2 GiB
	Files  int           // of a branch; a million
	Memory int64         // that a git may allocate; 1 GiB
}

func (l Limits) orDefaults() Limits {
	return Limits{
		Time: cmp.Or(l.Time, 10*time.Minute), Bytes: cmp.Or(l.Bytes, 2<<30), Files: cmp.Or(l.Files, 1_000_000), Memory: cmp.Or(l.Memory, 1<<30),
	}
}

// ofVault are the limits but for the time.
func (l Limits) ofVault() vault.Limits {
	return vault.Limits{Bytes: l.Bytes, Files: l.Files, Memory: l.Memory}
}

// within bounds the time of what is done with ctx.
func (l Limits) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, l.Time, fmt.Errorf("%w: it takes longer than %v", ErrLimit, l.Time))
}

// Helpers are the children of its own binary that a Git needs; every program that uses one hands them to
// agentproc.Dispatch.
func Helpers() []agentproc.Helper { return []agentproc.Helper{fetch.Helper()} }

// Git works for any number of jobs and is safe for concurrent use.
type Git struct {
	cfg    Config
	policy remote.Policy
	client *remote.Client
}

// New returns a Git. It touches neither disk nor network.
func New(cfg Config) *Git {
	cfg.Limits = cfg.Limits.orDefaults()
	policy := remote.Policy{AllowHTTP: cfg.AllowHTTP, AllowedHosts: cfg.AllowedHosts}
	return &Git{cfg: cfg, policy: policy, client: remote.NewClient(policy, cfg.Stall)}
}

// Remote is a repository on a host: the URL as CheckURL accepts it, and the caller's token, which may be empty. The
// token is sent as the password of basic authentication, to that URL's scheme, host and port only, and is written
// nowhere.
type Remote = remote.Repo

// CheckURL tells what is wrong with a request's repository URL, in words for its sender that hold nothing of a user
// part. It looks no name up.
func (g *Git) CheckURL(raw string) error { return g.policy.CheckURL(raw) }

// SameRepo reports whether two URLs name one repository: scheme, host and path are compared without regard to case, a
// default port, a slash at the end and ".git".
func SameRepo(a, b string) bool {
	ca, errA := canonical(a)
	cb, errB := canonical(b)
	return errA == nil && errB == nil && ca == cb
}

func canonical(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", err
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	path := strings.TrimSuffix(strings.TrimRight(strings.ToLower(u.Path), "/"), ".git")
	return strings.ToLower(u.Scheme) + "://" + host + path, nil
}

// RepoName takes a repository's owner and name from its URL, each fit to be the name of a folder. Where the path has
// one element only, the owner is the host.
func RepoName(raw string) (owner, name string) {
	u, err := url.Parse(raw)
	if err != nil {
		return "host", "repository"
	}
	elements := strings.Split(strings.Trim(u.Path, "/"), "/")
	name = folder(strings.TrimSuffix(elements[len(elements)-1], ".git"), "repository")
	if len(elements) > 1 {
		return folder(elements[len(elements)-2], "host"), name
	}
	return folder(u.Hostname(), "host"), name
}

// folder makes one path element that is neither hidden from nor special to anything but git.
func folder(s, otherwise string) string {
	s = strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || r == '-' || isDigit(r) || isLower(r) || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, s)
	s = strings.TrimLeft(cutBytes(s, 100), "-")
	if strings.Trim(s, ".-") == "" || strings.EqualFold(s, ".git") {
		return otherwise
	}
	return s
}

// Repo is a checkout with its vault, for the length of one job. Its methods are for one goroutine.
type Repo struct {
	git    *Git
	remote Remote
	vault  *vault.Vault
	co     checkout
	branch string   // that the checkout is on when the job begins
	start  string   // the commit that it is at then; empty: none
	base   string   // the newest commit below HEAD that the host was seen to have; empty: none
	known  []string // commits in the vault that the host was seen to have
}

func (g *Git) repo(agent *agentproc.Agent, r Remote, dir string) (*Repo, error) {
	if err := g.CheckURL(r.URL); err != nil {
		return nil, err
	}
	v, err := vault.Create(g.cfg.StateDir, g.cfg.Path, g.cfg.Limits.Memory)
	if err != nil {
		return nil, err
	}
	co := checkout{agent: agent, dir: dir, name: g.cfg.AuthorName, email: g.cfg.AuthorEmail, memory: g.cfg.Limits.Memory}
	return &Repo{git: g, remote: r, vault: v, co: co}, nil
}

// Base is the newest commit below the checkout's HEAD that the host was seen to have; empty if there is none.
func (r *Repo) Base() string { return r.base }

// StartBranch makes a branch at HEAD and moves the checkout onto it, with its changes.
func (r *Repo) StartBranch(ctx context.Context, name string) error {
	if err := ValidBranch(name); err != nil {
		return fmt.Errorf("start branch: %w", err)
	}
	if err := r.co.run(ctx, "checkout", "-q", "--no-track", "-b", name); err != nil {
		return fmt.Errorf("start branch %s: %w", name, err)
	}
	r.branch = name
	return nil
}

// Close removes the vault; the checkout stays.
func (r *Repo) Close() error { return r.vault.Close() }
