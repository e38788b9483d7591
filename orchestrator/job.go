// Package orchestrator runs one job from its acceptance to its terminal event: it takes the session's lease, restores and
// clones, lets a provider work, and then saves, pushes, records and says what became of it, in that order.
package orchestrator

import (
	"errors"
	"fmt"

	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// Job is one accepted request, validated: nothing in it needs to be checked again before it is used.
type Job struct {
	SessionID    string // empty: a new one is made
	MustExist    bool   // an unknown SessionID is storage.ErrNotFound, not a new session
	Provider     providers.Provider
	ProviderName string // as the request spelled it
	Prompt       providers.Prompt
	Options      providers.Options
	Credential   secret.String
	BaseURL      string // of the model's API; empty is the provider's own
	Repo         *Repo  // nil: a session's own repository, or none
	AutoCommit   bool
	Database     *Database // nil: none
	Notices      []string  // said to the client once the stream is open
	RequestID    string    // for the log
}

// Repo is the repository that a request names.
type Repo struct {
	URL       string
	Branch    string // empty: the remote's default
	Directory string // the checkout's folder; empty: the repository's name
	Token     secret.String
}

// Database is where in the client's own database a job's events go.
type Database struct {
	SessionID string // empty: the session's own
	Token     secret.String
}

// Started is what a job that has begun shows to its readers.
type Started struct {
	SessionID string
	Attempt   int
	Log       *eventlog.Log
}

// The causes by which a run is cut short; cancel its context with one of them.
var (
	ErrAborted  = errors.New("the job was aborted")
	ErrShutdown = errors.New("the worker is shutting down")
	ErrTimeout  = errors.New("the job's time is up")
)

// RepoMismatchError says that a request names another repository than the session it resumes.
type RepoMismatchError struct {
	Stored, Requested string
}

func (e *RepoMismatchError) Error() string {
	return fmt.Sprintf("the session belongs to %s, not to %s: leave github.repoUrl out, or start a new session", e.Stored, e.Requested)
}
