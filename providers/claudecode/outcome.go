package claudecode

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

const statusOverloaded = 529

// transcript gathers what the lines of a run say about its end.
type transcript struct {
	sessionID string
	begun     bool      // an init line came: the CLI took the prompt
	apiError  string    // the failure that the last assistant line names
	retry     line      // the last api_retry
	resetsAt  time.Time // when a limit that was hit is lifted, where the CLI told
	result    *line     // the first line of type result
}

func (t *transcript) add(l line) {
	switch {
	case l.isInit():
		t.begun = true
		t.sessionID = l.SessionID
	case l.isRetry():
		t.retry = l
	case l.Type == "assistant" && l.Parent == "": // the failure of an agent that this one started is not the run's
		t.apiError = l.Error
	case l.Type == "rate_limit_event" && l.RateLimit.Status == "rejected" && l.RateLimit.ResetsAt > 0:
		t.resetsAt = time.Unix(l.RateLimit.ResetsAt, 0)
	case l.isResult() && t.result == nil:
		t.result = &l
	}
}

// report is what the run came to, as far as the lines tell.
func (t *transcript) report() providers.Result {
	r := providers.Result{SessionID: t.sessionID}
	if t.result == nil {
		return r
	}
	r.Summary, r.Usage = t.result.Result, t.result.spent()
	return r
}

// failure reads the result line: the CLI's exit status does not tell a failed run from one that was cut short, and a
// result of subtype "success" can be an API's error.
func (t *transcript) failure(task providers.Task, now time.Time) error {
	r := t.result
	if !r.IsError && r.Subtype == "success" {
		return nil
	}
	words := r.words()
	switch {
	case r.Subtype == "error_max_turns":
		return fmt.Errorf("%w: %s", providers.ErrMaxTurns, words)
	case r.TerminalReason == "prompt_too_long":
		return fmt.Errorf("%w: %s", providers.ErrContextTooLong, words)
	case t.refused():
		return fmt.Errorf("%w: %s", providers.ErrAuth, words)
	case t.limited():
		return &providers.LimitError{Reason: words, RetryAfter: t.retryAfter(now)}
	case t.unreachable():
		return fmt.Errorf("%w: %s", providers.ErrNetwork, words)
	case t.apiError == "model_not_found" && task.Options.Model != "":
		return &providers.FieldError{Field: "providerOptions.model", Reason: words}
	case !t.begun && task.ResumeID != "":
		return fmt.Errorf("%w: %s", providers.ErrSessionNotFound, words)
	}
	return errors.New(words)
}

// words are the CLI's own about the failure.
func (l line) words() string {
	return cmp.Or(l.Result, strings.Join(l.Errors, "; "), l.Subtype, "claude failed without a word")
}

func (t *transcript) refused() bool {
	status := t.result.APIErrorStatus
	return t.apiError == "authentication_failed" || status == http.StatusUnauthorized || status == http.StatusForbidden
}

func (t *transcript) limited() bool {
	switch t.result.APIErrorStatus {
	case http.StatusTooManyRequests, statusOverloaded:
		return true
	}
	switch t.apiError {
	case "rate_limit", "overloaded", "billing_error":
		return true
	}
	return t.result.APIErrorStatus == 0 && t.retry.ErrorStatus == statusOverloaded
}

// unreachable is a failure at the API without an HTTP status, after attempts that got none either.
func (t *transcript) unreachable() bool {
	return t.result.APIErrorStatus == 0 && t.apiError != "" && t.retry.Type != "" && t.retry.ErrorStatus == 0
}

// maxWait bounds what the lines can say about a limit's end: the longest limits are a week's.
const maxWait = 7 * 24 * time.Hour

// retryAfter is the time to wait that the API asked for, as far as the CLI passes it on: a limit's end, or the pause
// before its own last attempt. It is 0 where the API asked for more than the CLI was ready to wait.
func (t *transcript) retryAfter(now time.Time) time.Duration {
	wait := t.retry.retryDelay()
	if t.resetsAt.After(now) {
		wait = t.resetsAt.Sub(now)
	}
	return min(wait, maxWait).Round(time.Second)
}
