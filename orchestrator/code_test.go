package orchestrator_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

func TestCodeOf(t *testing.T) {
	for _, tt := range []struct {
		cause error
		want  event.Code
	}{
		{orchestrator.ErrAborted, event.Aborted},
		{orchestrator.ErrTimeout, event.Timeout},
		{orchestrator.ErrShutdown, event.ShuttingDown},
		{&agentproc.ExitError{Code: -1, OutOfMemory: true}, event.OutOfMemory},
		{storage.ErrNotFound, event.SessionNotFound},
		{storage.ErrBusy, event.SessionBusy},
		{storage.ErrUnavailable, event.StorageError},
		{storage.ErrCorrupt, event.SessionCorrupt},
		{snapshot.ErrCorrupt, event.SessionCorrupt},
		{gitops.ErrBadCheckout, event.SessionCorrupt},
		{gitops.ErrAuth, event.GitAuthError},
		{gitops.ErrForbidden, event.GitAuthError},
		{gitops.ErrRepoNotFound, event.RepoNotFound},
		{&gitops.BranchNotFoundError{Branch: "x"}, event.BranchNotFound},
		{gitops.ErrPushRejected, event.PushRejected},
		{providers.ErrAuth, event.AuthError},
		{&providers.LimitError{Reason: "quota"}, event.RateLimited},
		{&providers.FieldError{Field: "providerOptions.model"}, event.InvalidRequest},
		{&orchestrator.RepoMismatchError{}, event.InvalidRequest},
		{errors.New("anything else"), event.InternalError},
	} {
		err := fmt.Errorf("phase: %w", fmt.Errorf("doing: %w", tt.cause))
		if got := orchestrator.CodeOf(err); got != tt.want {
			t.Errorf("%v: code %s, want %s", tt.cause, got, tt.want)
		}
	}
}

func hangFault() githost.Fault { return githost.Fault{Hang: true} }

func readAll(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}
