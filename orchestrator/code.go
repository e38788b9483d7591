package orchestrator

import (
	"errors"
	"math"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// Failures of a phase as such, for the errors below them that have no code of their own.
var (
	errClone    = errors.New("the repository could not be cloned")
	errPush     = errors.New("the work could not be pushed")
	errSave     = errors.New("the session could not be saved")
	errLog      = errors.New("the event log cannot be written (STATE_DIR)")
	errProvider = errors.New("the assistant failed")
)

// codes is the one table from cause to code. The first row that matches decides, so a cause stands before its phase.
var codes = []struct {
	cause error
	code  event.Code
}{
	{ErrAborted, event.Aborted},
	{ErrTimeout, event.Timeout},
	{ErrShutdown, event.ShuttingDown},
	{agentproc.ErrOutOfMemory, event.OutOfMemory},
	{errLog, event.InternalError},
	{errDisk, event.InternalError},
	{storage.ErrReplaced, event.WorkerLost},
	{storage.ErrNotFound, event.SessionNotFound},
	{storage.ErrBusy, event.SessionBusy},
	{snapshot.ErrCorrupt, event.SessionCorrupt},
	{storage.ErrCorrupt, event.SessionCorrupt},
	{gitops.ErrNoCheckout, event.SessionCorrupt},
	{gitops.ErrBadCheckout, event.SessionCorrupt},
	{storage.ErrUnavailable, event.StorageError},
	{errSave, event.StorageError},
	{gitops.ErrAuth, event.GitAuthError},
	{gitops.ErrPushRejected, event.PushRejected},
	{gitops.ErrForbidden, event.GitAuthError},
	{gitops.ErrRepoNotFound, event.RepoNotFound},
	{errClone, event.CloneFailed},
	{errPush, event.PushRejected},
	{providers.ErrAuth, event.AuthError},
	{providers.ErrLimit, event.RateLimited},
	{errProvider, event.ProviderError},
	{gitops.ErrLimit, event.ProviderError}, // outside of clone and push it is the agent's doing
}

// CodeOf finds the code of whatever ended a job.
func CodeOf(err error) event.Code {
	if mismatch := new(RepoMismatchError); errors.As(err, &mismatch) {
		return event.InvalidRequest
	}
	if field := new(providers.FieldError); errors.As(err, &field) {
		return event.InvalidRequest
	}
	if branch := new(gitops.BranchNotFoundError); errors.As(err, &branch) {
		return event.BranchNotFound
	}
	for _, row := range codes {
		if errors.Is(err, row.cause) {
			return row.code
		}
	}
	return event.InternalError
}

// retryAfter is how long a client should wait, in seconds; 0 where nobody said.
func retryAfter(err error) int {
	if limit := new(providers.LimitError); errors.As(err, &limit) {
		return int(math.Ceil(limit.RetryAfter.Seconds()))
	}
	return 0
}
