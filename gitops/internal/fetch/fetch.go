// Package fetch gets a branch from a git host into a vault, in a process of its own: what a host sends is anybody's, and
// whatever it makes of the one that reads it, the worker can kill that and go on.
package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/remote"
	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// Order is what to fetch, from where, and where to.
type Order struct {
	Repo   remote.Repo
	Policy remote.Policy
	Stall  time.Duration // as for remote.NewClient
	Want   remote.Want   // its Progress is not used
	Vault  *vault.Vault
	Limits vault.Limits
	Env    []string // the whole environment of the process
}

// Result is a branch that is in the vault.
type Result struct {
	Head     string   `json:"head"`     // its commit
	Pack     string   `json:"pack"`     // the name of its pack
	Shallows []string `json:"shallows"` // commits of the pack whose parents are not in it
}

// memory is what the process may allocate at least: it passes packs on, and keeps nothing but a host's list of references.
// A git that it starts may have no more.
const memory = 512 << 20

// Run fetches. Progress gets the words of the host and of git. When ctx ends, the process is killed and the cause
// returned; it never outlives this one. The credential goes to it over its standard input only.
func Run(ctx context.Context, o Order, progress io.Writer) (Result, error) {
	order, err := json.Marshal(wireOrder(o))
	if err != nil {
		return Result{}, fmt.Errorf("fetch: %w", err)
	}
	said := &answers{progress: progress}
	err = agentproc.Own{
		Args: []string{helperName}, Env: o.Env, Memory: max(memory, o.Limits.Memory), Stdin: bytes.NewReader(order), Stdout: said,
	}.Run(ctx)
	switch {
	case ctx.Err() != nil:
		return Result{}, context.Cause(ctx)
	case said.failure != nil:
		return Result{}, said.failure
	case vault.RanOut(err):
		return Result{}, fmt.Errorf("%w: it needs more memory to fetch than it may have", vault.ErrLimit)
	case err != nil:
		return Result{}, fmt.Errorf("fetch: %w", err)
	case said.result == nil:
		return Result{}, errors.New("fetch: the process ended without a result")
	}
	return *said.result, nil
}

// answers reads what the process prints, one JSON object on each line.
type answers struct {
	progress io.Writer
	line     []byte
	result   *Result
	failure  *Failure
}

// answer is one line.
type answer struct {
	Progress []byte   `json:"progress,omitempty"`
	Result   *Result  `json:"result,omitempty"`
	Failure  *Failure `json:"failure,omitempty"`
}

func (a *answers) Write(p []byte) (int, error) {
	a.line = append(a.line, p...)
	for {
		line, rest, whole := bytes.Cut(a.line, []byte{'\n'})
		if !whole {
			return len(p), nil
		}
		a.line = rest
		if err := a.take(line); err != nil {
			return 0, err
		}
	}
}

func (a *answers) take(line []byte) error {
	var got answer
	if err := json.Unmarshal(line, &got); err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	if got.Result != nil {
		a.result = got.Result
	}
	if got.Failure != nil {
		a.failure = got.Failure
	}
	if len(got.Progress) > 0 && a.progress != nil {
		_, _ = a.progress.Write(got.Progress) // a report that nobody takes is no reason to stop
	}
	return nil
}
