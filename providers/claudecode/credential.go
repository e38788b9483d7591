package claudecode

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

const (
	maxCredential = 64 << 10 // the document
	maxToken      = 8 << 10  // a key or token in it: gateways hand out long ones
	oauthPrefix   = "sk-ant-oat"
)

// Credential is what the CLI is given: an API key, or the access token of an OAuth login.
type Credential struct {
	Token   secret.String
	OAuth   bool
	Expires time.Time // of an OAuth token, where the credential tells; else zero
}

// ParseCredential reads every form that a request may bring: a raw API key, a raw OAuth token ("sk-ant-oat…"),
// {"apiKey":"…"}, {"claudeAiOauth":{"accessToken":"…", …}} as in the CLI's own file, or that inner object alone.
// The refresh token is left where it is: using it would make the caller's own copy worthless.
// Its errors never quote the credential.
func ParseCredential(raw secret.String) (Credential, error) {
	text := strings.TrimSpace(raw.Reveal())
	switch {
	case text == "":
		return Credential{}, errors.New("it is empty")
	case len(text) > maxCredential:
		return Credential{}, fmt.Errorf("it is longer than %d bytes", maxCredential)
	case strings.HasPrefix(text, "{"):
		return parseDocument(text)
	default:
		token, err := parseToken("the key", text)
		return Credential{Token: token, OAuth: strings.HasPrefix(text, oauthPrefix)}, err
	}
}

// oauthLogin is the CLI's own record of a login.
type oauthLogin struct {
	AccessToken string       `json:"accessToken"`
	ExpiresAt   *json.Number `json:"expiresAt"` // milliseconds since 1970
}

type document struct {
	APIKey        string      `json:"apiKey"`
	ClaudeAiOauth *oauthLogin `json:"claudeAiOauth"`
	oauthLogin
}

func parseDocument(text string) (Credential, error) {
	var doc document
	dec := json.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(&doc); err != nil {
		return Credential{}, explain(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Credential{}, errors.New("something follows its JSON")
	}
	login := doc.ClaudeAiOauth
	if doc.AccessToken != "" {
		if login != nil {
			return Credential{}, errors.New("it has accessToken beside claudeAiOauth: give one of them")
		}
		login = &doc.oauthLogin
	}
	switch {
	case doc.APIKey != "" && login != nil:
		return Credential{}, errors.New("it has an API key and an OAuth login: give one of them")
	case doc.APIKey != "":
		token, err := parseToken("apiKey", doc.APIKey)
		return Credential{Token: token}, err
	case login != nil:
		return login.credential()
	}
	return Credential{}, errors.New("it has neither apiKey nor claudeAiOauth nor accessToken")
}

// explain says what is wrong with JSON without quoting it: it is a secret.
func explain(err error) error {
	if wrongType := new(json.UnmarshalTypeError); errors.As(err, &wrongType) {
		return fmt.Errorf("its %s is a %s, not a %s", wrongType.Field, kindOf(wrongType.Value), wrongType.Type.Kind())
	}
	return errors.New("it is not valid JSON")
}

// kindOf keeps a number's digits, which encoding/json appends to the kind, out of the message.
func kindOf(value string) string {
	kind, _, _ := strings.Cut(value, " ")
	return kind
}

func (l oauthLogin) credential() (Credential, error) {
	token, err := parseToken("accessToken", l.AccessToken)
	if err != nil {
		return Credential{}, err
	}
	c := Credential{Token: token, OAuth: true}
	if l.ExpiresAt == nil {
		return c, nil
	}
	ms, err := l.ExpiresAt.Float64()
	if err != nil || ms <= 0 || ms > 1e15 {
		return Credential{}, errors.New("its expiresAt is no number of milliseconds since 1970")
	}
	c.Expires = time.UnixMilli(int64(ms)).UTC()
	return c, nil
}

// parseToken accepts what can stand in an HTTP header as it is.
func parseToken(name, token string) (secret.String, error) {
	token = strings.TrimSpace(token)
	switch {
	case token == "":
		return secret.String{}, fmt.Errorf("%s is empty", name)
	case len(token) > maxToken:
		return secret.String{}, fmt.Errorf("%s is longer than %d bytes", name, maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }):
		return secret.String{}, fmt.Errorf("%s has characters that no key has: spaces, quotes or control characters", name)
	}
	return secret.New(token), nil
}

// expired is an ErrAuth for a token whose time is over.
func (c Credential) expired(now time.Time) error {
	if c.Expires.IsZero() || now.Before(c.Expires) {
		return nil
	}
	return fmt.Errorf("%w: the access token expired at %s: log in again and send the new one",
		providers.ErrAuth, c.Expires.Format(time.RFC3339))
}

// harmless are the members of a credential document whose strings may be seen.
var harmless = map[string]bool{"scopes": true, "subscriptionType": true, "rateLimitTier": true}

// Secrets implements providers.SecretLister: every string of a document but the few that are known to be harmless,
// those that the worker does not use included.
func (*Provider) Secrets(credential secret.String) []secret.String {
	text := strings.TrimSpace(credential.Reveal())
	var doc map[string]any
	if json.Unmarshal([]byte(text), &doc) != nil {
		if text == "" {
			return nil
		}
		return []secret.String{secret.New(text)}
	}
	return leaves(nil, doc)
}

func leaves(found []secret.String, value any) []secret.String {
	switch v := value.(type) {
	case string:
		if v != "" {
			found = append(found, secret.New(strings.TrimSpace(v)))
		}
	case []any:
		for _, one := range v {
			found = leaves(found, one)
		}
	case map[string]any:
		for name, one := range v {
			if !harmless[name] {
				found = leaves(found, one)
			}
		}
	}
	return found
}
