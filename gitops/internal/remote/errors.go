package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// What a host, or the way to it, can refuse.
var (
	ErrAuth         = errors.New("the git host refused the credential")
	ErrForbidden    = errors.New("the git host does not allow it")
	ErrRepoNotFound = errors.New("the git host has no such repository, or hides it from this credential")
	ErrUnreachable  = errors.New("the git host cannot be reached")
	ErrRedirect     = errors.New("the git host sends its clients elsewhere, which is not followed")
)

// Rejection is a push that arrived and was turned down by the host.
type Rejection struct {
	Status string // of the reference, as "pre-receive hook declined"
	Words  string // what the host wrote beside it; empty if nothing
	Links  bool   // the host lacks objects that the pack was built on
}

func (r *Rejection) Error() string {
	if r.Words == "" {
		return r.Status
	}
	return r.Status + ": " + r.Words
}

const maxWords = 2000

// classify makes one of this package's errors out of one of go-git's. The end of ctx goes before everything else.
func classify(ctx context.Context, rawURL string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("talk to %s: %w", rawURL, context.Cause(ctx))
	}
	return fmt.Errorf("%s: %w", rawURL, kindOf(unexpected(err)))
}

// unexpected takes off go-git's wrapping that does not unwrap by itself.
func unexpected(err error) error {
	var wrapped *plumbing.UnexpectedError
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// refusal makes a Rejection of a status by which a host turns a push down for good, as for its size or a quota; nil for
// those that may be another time, and for those that have an error of their own.
func refusal(err error) *Rejection {
	var status *githttp.Err
	if !errors.As(unexpected(err), &status) {
		return nil
	}
	switch code := status.StatusCode(); {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests:
		return nil
	case code >= 400 && code < 500, code == http.StatusInsufficientStorage:
		return &Rejection{Status: answer(code), Words: sentence(status.Reason)}
	}
	return nil
}

func answer(code int) string {
	return strings.TrimSpace(fmt.Sprintf("it answers %d %s", code, http.StatusText(code)))
}

func kindOf(err error) error {
	var status *githttp.Err
	var data *packp.ErrUnexpectedData
	switch {
	case errors.Is(err, ErrRedirect), errors.Is(err, ErrBlocked):
		return err
	case errors.Is(err, transport.ErrAuthenticationRequired):
		return withWords(ErrAuth, err, transport.ErrAuthenticationRequired)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return withWords(ErrForbidden, err, transport.ErrAuthorizationFailed)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return withWords(ErrRepoNotFound, err, transport.ErrRepositoryNotFound)
	case errors.As(err, &status):
		return worded(fmt.Errorf("%w: %s", ErrUnreachable, answer(status.StatusCode())), status.Reason)
	case errors.As(err, &data), errors.Is(err, pktline.ErrInvalidPktLen):
		return fmt.Errorf("%w: its answer is not a git repository's", ErrRepoNotFound)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// withWords adds the host's own words, which go-git appends to its sentinel's text.
func withWords(kind, err, sentinel error) error {
	_, said, _ := strings.Cut(err.Error(), sentinel.Error()+": ")
	return worded(kind, said)
}

func worded(kind error, said string) error {
	if said = sentence(said); said == "" {
		return kind
	}
	return fmt.Errorf("%w: %s", kind, said)
}

// sentence is words, unless they are a web page.
func sentence(said string) string {
	if said = words(said); strings.HasPrefix(said, "<") {
		return ""
	}
	return said
}

// words makes one printable line, cut to a bearable length, of what a host wrote.
func words(said string) string {
	said = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(said, ""))
	said = strings.Join(strings.Fields(said), " ")
	if len(said) > maxWords {
		said = strings.ToValidUTF8(said[:maxWords], "") + "…"
	}
	return said
}
