package claudecode_test

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// The faults of the real CLI's API.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		turn  modeltest.Turn
		want  error // nil: an error that is none of the known ones
		words string
	}{
		{"a refused key", modeltest.Turn{Status: 401}, providers.ErrAuth, "authentication_error"},
		{"a forbidden key", modeltest.Turn{Status: 403}, providers.ErrAuth, "permission_error"},
		{"a quota", modeltest.Turn{Status: 429, RetryAfter: 2 * time.Second}, providers.ErrLimit, "rate_limit_error"},
		{"no credit", modeltest.Turn{Status: 400, Message: "Your credit balance is too low to access the Anthropic API"}, providers.ErrLimit, "Credit balance"},
		{"overload", modeltest.Turn{Status: 529}, providers.ErrLimit, "529"},
		{"a broken API", modeltest.Turn{Status: 500}, nil, "500"},
		{"an error in the stream", modeltest.Turn{Text: "half of it", StreamError: true}, nil, "500"},
		{"a connection that is cut", modeltest.Turn{Text: "half of it", Cut: true}, providers.ErrNetwork, "connect"},
		{"too long a conversation", modeltest.Turn{Status: 400, Message: "prompt is too long: 210000 tokens > 200000 maximum"}, providers.ErrContextTooLong, "too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.turn.Times = modeltest.Always
			s := newStage(t, test.turn)
			messages, result, err := s.run(t.Context(), nil)
			if err == nil || !strings.Contains(err.Error(), test.words) {
				t.Fatalf("Run: %v, want it to quote %q", err, test.words)
			}
			if !sameCause(err, test.want) {
				t.Errorf("Run: %v, want %v", err, test.want)
			}
			if last := messages[len(messages)-1]; last.Kind != providers.KindResult || result.SessionID == "" {
				t.Errorf("session %q, the last message: %s", result.SessionID, last.Raw)
			}
			limit := new(providers.LimitError)
			if errors.As(err, &limit) && test.turn.RetryAfter > 0 && limit.RetryAfter < test.turn.RetryAfter {
				t.Errorf("to wait for %v, the API said %v", limit.RetryAfter, test.turn.RetryAfter)
			}
		})
	}
}

// sameCause tells whether an error is the one of the contract's that is wanted, and no other of them.
func sameCause(err, want error) bool {
	for _, known := range []error{
		providers.ErrAuth, providers.ErrLimit, providers.ErrContextTooLong, providers.ErrNetwork,
		providers.ErrMaxTurns, providers.ErrNotInstalled, providers.ErrSessionNotFound,
	} {
		if errors.Is(err, known) != errors.Is(want, known) {
			return false
		}
	}
	return true
}

func TestRecovers(t *testing.T) {
	t.Parallel()
	s := newStage(t, modeltest.Turn{Status: 529}, modeltest.Turn{Text: "half of it", Cut: true}, modeltest.Turn{Text: "all of it"})
	if _, result := s.mustRun(t); result.Summary != "all of it" {
		t.Errorf("after an overload and a cut: %q", result.Summary)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	s.task.BaseURL = "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.run(t.Context(), nil); !errors.Is(err, providers.ErrNetwork) {
		t.Errorf("Run: %v", err)
	}
}

func TestUnknownModel(t *testing.T) {
	t.Parallel()
	s := newStage(t, modeltest.Turn{Status: 404, Message: "model: nonesuch", Times: modeltest.Always})
	s.task.Options.Model = "nonesuch"
	field := new(providers.FieldError)
	if _, _, err := s.run(t.Context(), nil); !errors.As(err, &field) || field.Field != "providerOptions.model" {
		t.Errorf("Run: %v", err)
	}
}

func TestSubscriptionLimit(t *testing.T) {
	t.Parallel()
	resets := time.Now().Add(90 * time.Minute)
	header := http.Header{}
	for name, value := range map[string]string{
		"status": "rejected", "reset": strconv.FormatInt(resets.Unix(), 10), "representative-claim": "five_hour",
	} {
		header.Set("Anthropic-Ratelimit-Unified-"+name, value)
	}
	s := newStage(t, modeltest.Turn{Status: 429, Header: header, Times: modeltest.Always})
	s.place(t, oauthToken)
	_, _, err := s.run(t.Context(), nil)
	limit := new(providers.LimitError)
	if !errors.As(err, &limit) || limit.RetryAfter < 85*time.Minute || limit.RetryAfter > 90*time.Minute {
		t.Errorf("Run: %#v, want a limit that ends in 90 minutes", err)
	}
}
