package codex

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/internal/credential"
)

// Credential is what the CLI is given: an API key, or the access token of a ChatGPT account.
type Credential struct {
	Token     secret.String
	AccountID string    // of the ChatGPT account; empty for an API key
	Expires   time.Time // of an access token, where it tells; else zero
}

// ParseCredential reads every form that a request may bring: a raw API key, {"apiKey":"…"}, or the content of Codex's own
// auth.json, with a key ({"OPENAI_API_KEY":"…"}) or with the tokens of a ChatGPT account ({"tokens":{…}}).
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
	return Credential{Token: token}, err
}

type tokens struct {
	AccessToken string `json:"access_token"`
	IDToken     string `json:"id_token"`
	AccountID   string `json:"account_id"`
}

type document struct {
	APIKey       string  `json:"apiKey"`
	OpenAIAPIKey *string `json:"OPENAI_API_KEY"`
	Tokens       *tokens `json:"tokens"`
}

func parseDocument(text string) (Credential, error) {
	var doc document
	if err := credential.Decode(text, &doc); err != nil {
		return Credential{}, err
	}
	name, key := "apiKey", doc.APIKey
	if doc.OpenAIAPIKey != nil && *doc.OpenAIAPIKey != "" {
		if key != "" {
			return Credential{}, errors.New("it has apiKey beside OPENAI_API_KEY: give one of them")
		}
		name, key = "OPENAI_API_KEY", *doc.OpenAIAPIKey
	}
	switch {
	case key != "" && doc.Tokens != nil:
		return Credential{}, errors.New("it has an API key and the tokens of an account: give one of them")
	case key != "":
		token, err := credential.Token(name, key)
		return Credential{Token: token}, err
	case doc.Tokens != nil:
		return doc.Tokens.credential()
	}
	return Credential{}, errors.New("it has neither apiKey nor OPENAI_API_KEY nor tokens")
}

func (t tokens) credential() (Credential, error) {
	access, err := credential.Token("tokens.access_token", t.AccessToken)
	if err != nil {
		return Credential{}, err
	}
	claims := claimsOf(t.AccessToken)
	c := Credential{Token: access, AccountID: t.AccountID}
	if claims.Expires > 0 {
		c.Expires = time.Unix(claims.Expires, 0).UTC()
	}
	if c.AccountID == "" {
		c.AccountID = claims.Auth.AccountID
	}
	if c.AccountID == "" {
		c.AccountID = claimsOf(t.IDToken).Auth.AccountID
	}
	if c.AccountID == "" {
		return Credential{}, errors.New("its tokens name no account: tokens.account_id is missing")
	}
	return c, nil
}

// claims are what is read of a token. Nobody relies on them: who issued the token checks it.
type claims struct {
	Expires int64 `json:"exp"` // seconds since 1970
	Auth    struct {
		AccountID string `json:"chatgpt_account_id"`
	} `json:"https://api.openai.com/auth"`
}

// claimsOf reads a JSON Web Token; what is none has no claims.
func claimsOf(token string) (c claims) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil || c.Expires < 0 || c.Expires > 1e12 {
		return claims{}
	}
	return c
}

// expired is an ErrAuth for a token whose time is over.
func (c Credential) expired(now time.Time) error {
	if c.Expires.IsZero() || now.Before(c.Expires) {
		return nil
	}
	return fmt.Errorf("%w: the access token expired at %s: log in again and send the new one",
		providers.ErrAuth, c.Expires.Format(time.RFC3339))
}
