package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/remote"
	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const helperName = "git-fetch"

// Helper is the process: every program that calls Run hands it to agentproc.Dispatch.
func Helper() agentproc.Helper { return agentproc.Helper{Name: helperName, Run: serve} }

// wire is an Order as it is written to the process.
type wire struct {
	URL          string        `json:"url"`
	Token        string        `json:"token"`
	AllowHTTP    bool          `json:"allowHTTP"`
	AllowedHosts []string      `json:"allowedHosts"`
	Stall        time.Duration `json:"stall"`
	Branch       string        `json:"branch"`
	Depth        int           `json:"depth"`
	Haves        []string      `json:"haves"`
	Shallows     []string      `json:"shallows"`
	Vault        vault.Address `json:"vault"`
	Limits       vault.Limits  `json:"limits"`
}

func wireOrder(o Order) wire {
	return wire{
		URL: o.Repo.URL, Token: o.Repo.Token.Reveal(), AllowHTTP: o.Policy.AllowHTTP, AllowedHosts: o.Policy.AllowedHosts, Stall: o.Stall,
		Branch: o.Want.Branch, Depth: o.Want.Depth, Haves: o.Want.Haves, Shallows: o.Want.Shallows, Vault: o.Vault.Address(), Limits: o.Limits,
	}
}

// serve does one order. What goes wrong with it is an answer, not an error.
func serve(_ []string, stdin io.Reader, stdout io.Writer) error {
	if err := agentproc.DenyInspection(); err != nil {
		return err
	}
	var order wire
	if err := json.NewDecoder(stdin).Decode(&order); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	out := &reporter{out: json.NewEncoder(stdout)}
	result, err := order.do(context.Background(), out) // its end is the end of the process
	if err != nil {
		return out.tell(answer{Failure: failureOf(err)})
	}
	return out.tell(answer{Result: &result})
}

// do fetches into the vault, and looks how much the branch unpacks to before anybody does.
func (w wire) do(ctx context.Context, progress io.Writer) (Result, error) {
	v := vault.Open(w.Vault)
	client := remote.NewClient(remote.Policy{AllowHTTP: w.AllowHTTP, AllowedHosts: w.AllowedHosts}, w.Stall)
	want := remote.Want{Branch: w.Branch, Depth: w.Depth, Haves: w.Haves, Shallows: w.Shallows, Progress: progress}
	var got Result
	err := client.Fetch(ctx, remote.Repo{URL: w.URL, Token: secret.New(w.Token)}, want, func(f remote.Fetched) error {
		if want.Depth > 0 {
			if err := v.SetShallow(f.Shallows); err != nil {
				return err
			}
		}
		pack, err := v.Index(ctx, f.Pack, false, w.Limits.Bytes, progress)
		got = Result{Head: f.Head, Pack: pack, Shallows: f.Shallows}
		return err
	})
	if err != nil {
		return Result{}, err
	}
	return got, v.Measure(ctx, got.Head, w.Limits)
}

// reporter writes answers. It is safe for concurrent use: the host and git both report.
type reporter struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (r *reporter) tell(a answer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Encode(a)
}

// Write takes progress.
func (r *reporter) Write(p []byte) (int, error) { return len(p), r.tell(answer{Progress: p}) }

// kinds are the causes that outlive the process.
var kinds = map[string]error{
	"auth": remote.ErrAuth, "forbidden": remote.ErrForbidden, "no repository": remote.ErrRepoNotFound, "unreachable": remote.ErrUnreachable,
	"redirect": remote.ErrRedirect, "blocked": remote.ErrBlocked, "no branch": remote.ErrNoBranch, "bad pack": vault.ErrBadPack, "limit": vault.ErrLimit,
}

// Failure is an error of the process, with its words, and with its cause for errors.Is.
type Failure struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

func failureOf(err error) *Failure {
	f := &Failure{Text: err.Error()}
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			f.Kind = name
		}
	}
	return f
}

func (f *Failure) Error() string { return f.Text }

// Unwrap returns the cause; nil for one that is not of kinds.
func (f *Failure) Unwrap() error { return kinds[f.Kind] }
