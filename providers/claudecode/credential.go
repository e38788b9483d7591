package claudecode

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/internal/credential"
)

const oauthPrefix = "sk-ant-oat"

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
	text, err := credential.Text(raw)
	if err != nil {
		return Credential{}, err
	}
	if credential.IsDocument(text) {
		return parseDocument(text)
	}
	token, err := credential.Token("the key", text)
	return Credential{Token: token, OAuth: strings.HasPrefix(text, oauthPrefix)}, err
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
	if err := credential.Decode(text, &doc); err != nil {
		return Credential{}, err
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
		token, err := credential.Token("apiKey", doc.APIKey)
		return Credential{Token: token}, err
	case login != nil:
		return login.credential()
	}
	return Credential{}, errors.New("it has neither apiKey nor claudeAiOauth nor accessToken")
}

func (l oauthLogin) credential() (Credential, error) {
	token, err := credential.Token("accessToken", l.AccessToken)
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
func (*Provider) Secrets(raw secret.String) []secret.String {
	return credential.Secrets(raw, harmless)
}
