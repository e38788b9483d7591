package claudecode_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers/claudecode"
)

func key(text string) secret.String { return secret.New(text) }

func TestParseCredential(t *testing.T) {
	type parsed struct {
		Token   string
		OAuth   bool
		Expires time.Time
	}
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]parsed{
		apiKey:                            {apiKey, false, time.Time{}},
		" " + apiKey + "\n":               {apiKey, false, time.Time{}},
		oauthToken:                        {oauthToken, true, time.Time{}},
		` {"apiKey":"` + apiKey + `"} `:   {apiKey, false, time.Time{}},
		`{"apiKey":"` + oauthToken + `"}`: {oauthToken, false, time.Time{}},
		`{"accessToken":"` + oauthToken + `","refreshToken":null,"expiresAt":null}`:                       {oauthToken, true, time.Time{}},
		`{"claudeAiOauth":{"accessToken":"at-canary","expiresAt":1893553445000}}`:                         {"at-canary", true, expires},
		`{"claudeAiOauth":{"accessToken":"at-canary","expiresAt":1.893553445e12},"organizationUuid":"x"}`: {"at-canary", true, expires},
	} {
		got, err := claudecode.ParseCredential(key(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, parsed{got.Token.Reveal(), got.OAuth, got.Expires}); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// malformed credentials, and what is said about them.
var malformed = map[string]string{
	"":                           "empty",
	" \n":                        "empty",
	"{":                          "not valid JSON",
	`{"apiKey":"sk-canary"`:      "not valid JSON",
	`{"apiKey":"sk-canary"} x`:   "something follows",
	`{"apiKey":"a"}{"apiKey":1}`: "something follows",
	`{}`:                         "neither",
	`{"apiKey":""}`:              "neither",
	`{"apiKey":123456789}`:       "apiKey is a number, not a string",
	`{"claudeAiOauth":"canary"}`: "claudeAiOauth is a string, not a struct",
	`{"claudeAiOauth":{}}`:       "accessToken is empty",
	`{"claudeAiOauth":{"accessToken":"at-canary","expiresAt":"canary"}}`:       "not valid JSON",
	`{"claudeAiOauth":{"accessToken":"at-canary","expiresAt":-1}}`:             "expiresAt",
	`{"claudeAiOauth":{"accessToken":"at-canary","expiresAt":1e300}}`:          "expiresAt",
	`{"apiKey":"sk-canary","accessToken":"at-canary"}`:                         "give one of them",
	`{"claudeAiOauth":{"accessToken":"at-canary"},"accessToken":"at2-canary"}`: "give one of them",
	`"sk-canary"`:                            "characters",
	"sk-canary two":                          "characters",
	"sk-canary\r\nX-Evil: 1":                 "characters",
	"sk-canary\u00e9":                        "characters",
	`{"apiKey":"sk-canary\u0000"}`:           "characters",
	`{"apiKey":"sk-canary\r\nX-Evil: 1"}`:    "characters",
	"k" + strings.Repeat("a", 8<<10):         "longer",
	`{"apiKey":"` + strings.Repeat("a", 1e5): "longer",
}

func TestParseCredentialRefuses(t *testing.T) {
	for text, want := range malformed {
		got, err := claudecode.ParseCredential(key(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v %v, want an error with %q", text, got, err, want)
		} else if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "123456789") {
			t.Errorf("%.80q: the error quotes it: %v", text, err)
		}
	}
}

func TestSecrets(t *testing.T) {
	for text, want := range map[string][]string{
		"":                            nil,
		" " + apiKey + "\n":           {apiKey},
		`{"apiKey":"` + apiKey + `"}`: {apiKey},
		`{"apiKey":"cut canary`:       {`{"apiKey":"cut canary`},
		`{"claudeAiOauth":{"accessToken":"at-canary","refreshToken":" rt-canary ","expiresAt":1,"scopes":["user:inference"],"subscriptionType":"max"},"mcpOAuth":[{"x":{"clientSecret":"cs-canary"}}]}`: {"at-canary", "cs-canary", "rt-canary"},
	} {
		var got []string
		for _, one := range claudecode.New(claudecode.Config{}).Secrets(key(text)) {
			got = append(got, one.Reveal())
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func FuzzParseCredential(f *testing.F) {
	for text := range malformed {
		f.Add(text)
	}
	f.Add(fmt.Sprintf(`{"claudeAiOauth":{"accessToken":%q,"expiresAt":1893553445000}}`, oauthToken))
	f.Fuzz(func(t *testing.T, text string) {
		secrets := claudecode.New(claudecode.Config{}).Secrets(key(text))
		got, err := claudecode.ParseCredential(key(text))
		if err != nil {
			if !got.Token.IsZero() {
				t.Errorf("a token beside the error %v", err)
			}
			return
		}
		token := got.Token.Reveal()
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("token %q cannot be a header", token)
		}
		if !slices.ContainsFunc(secrets, func(s secret.String) bool { return s.Reveal() == token }) {
			t.Errorf("the scrubber is not told of %q", token)
		}
	})
}
