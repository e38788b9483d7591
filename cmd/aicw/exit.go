package main

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

// The exit statuses; the help text explains them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnavailable = 3
	exitLost        = 4
	exitInterrupted = 130
)

var (
	errJobFailed   = errors.New("the job failed")
	errInterrupted = errors.New("interrupted")
)

// usageError is a command line that cannot be meant.
type usageError struct{ error }

// Unwrap makes the reason visible to errors.Is.
func (e usageError) Unwrap() error { return e.error }

// silent reports whether everything was said already.
func silent(err error) bool {
	return err == nil || errors.Is(err, errJobFailed) || errors.Is(err, errInterrupted)
}

// given says where this program takes what a worker asks for by the name of a request's field.
var given = map[string]string{
	"codingAssistantProvider":       "--provider names it",
	"codingAssistantAuthentication": "it comes from --auth-file, from AICW_AUTH, or from the provider's usual variable where --provider says whose",
	"github.accessToken":            "it comes from --token-file, or from a variable",
}

// advice is what a worker's answer leaves unsaid, because it does not know this program.
func advice(err error) string {
	answer, ok := errors.AsType[*client.APIError](err)
	_, unreached := errors.AsType[*net.OpError](err)
	switch {
	case !ok && unreached && errors.Is(err, client.ErrUnavailable):
		return "; --server or AICW_SERVER says where the workers are"
	case !ok:
		return ""
	case answer.Status == http.StatusUnauthorized:
		return "; aicw takes the key from AICW_API_KEY"
	case given[answer.Field] != "":
		return "; " + given[answer.Field] + " (see aicw --help)"
	}
	return ""
}

// status is the one table from errors to exit statuses.
func status(err error) int {
	var (
		usage  usageError
		lost   *client.LostError
		answer *client.APIError
	)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &lost): // before what it was lost by
		return exitLost
	case errors.Is(err, client.ErrUnavailable):
		return exitUnavailable
	case errors.As(err, &usage), errors.Is(err, client.ErrUsage):
		return exitUsage
	case errors.As(err, &answer) && answer.Status >= http.StatusInternalServerError:
		return exitUnavailable
	case errors.As(err, &answer):
		return exitUsage
	default:
		return exitFailed
	}
}
