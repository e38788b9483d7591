package codex_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/codex"
)

// token is a JSON Web Token with these claims, signed by nobody.
func token(claims string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part([]byte(claims)) + ".canarysignature"
}

func TestCredentials(t *testing.T) {
	account := token(`{"https://api.openai.com/auth":{"chatgpt_account_id":"of-the-token"}}`)
	for name, test := range map[string]struct{ text, token, account string }{
		"a key":                     {" sk-proj-canary\n", "sk-proj-canary", ""},
		"a key in an object":        {`{"apiKey":"sk-canary"}`, "sk-canary", ""},
		"auth.json with a key":      {`{"OPENAI_API_KEY":"sk-canary","tokens":null,"last_refresh":null}`, "sk-canary", ""},
		"auth.json with tokens":     {`{"auth_mode":"chatgpt","OPENAI_API_KEY":null,"tokens":{"access_token":"canary","refresh_token":"r","account_id":"acc"}}`, "canary", "acc"},
		"an account in the token":   {`{"tokens":{"access_token":"` + account + `"}}`, account, "of-the-token"},
		"an account in the ID":      {`{"tokens":{"access_token":"canary","id_token":"` + account + `"}}`, "canary", "of-the-token"},
		"the request's account":     {`{"tokens":{"access_token":"` + account + `","account_id":"mine"}}`, account, "mine"},
		"a token that is no JWT":    {`{"tokens":{"access_token":"a.b.c","account_id":"acc"}}`, "a.b.c", "acc"},
		"a token with odd claims":   {`{"tokens":{"access_token":"` + token(`{"exp":"soon"}`) + `","account_id":"acc"}}`, token(`{"exp":"soon"}`), "acc"},
		"an unknown member besides": {`{"apiKey":"sk-canary","more":{"x":1}}`, "sk-canary", ""},
	} {
		c, err := codex.ParseCredential(secret.New(test.text))
		if err != nil || c.Token.Reveal() != test.token || c.AccountID != test.account {
			t.Errorf("%s: %q of %q, %v", name, c.Token.Reveal(), c.AccountID, err)
		}
	}
}

func TestBadCredentials(t *testing.T) {
	for text, words := range map[string]string{
		"":                                     "empty",
		"canary key":                           "no key has",
		"{":                                    "not valid JSON",
		"{}":                                   "neither",
		`{"apiKey":7}`:                         "apiKey is a number",
		`{"apiKey":"canary"} more`:             "follows",
		`{"tokens":{}}`:                        "access_token is empty",
		`{"tokens":{"access_token":"canary"}}`: "account_id is missing",
		`{"apiKey":"canary","OPENAI_API_KEY":"canary"}`:          "one of them",
		`{"apiKey":"canary","tokens":{"access_token":"canary"}}`: "one of them",
		strings.Repeat("k", 100_000):                             "longer than",
	} {
		_, err := codex.ParseCredential(secret.New(text))
		if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%.60q: %v, want %q in it, and no secret", text, err, words)
		}
	}
}

func TestExpiredToken(t *testing.T) {
	s := newFakeStage(t, prints(fakeInit, fakeResult))
	s.task.Credential = secret.New(`{"tokens":{"access_token":"` + token(`{"exp":1700000000}`) + `","account_id":"acc"}}`)
	if _, _, err := s.run(t.Context(), nil); !errors.Is(err, providers.ErrAuth) || !strings.Contains(err.Error(), "2023-11-14") {
		t.Errorf("Run: %v", err)
	}
}

// Every part of a credential is a secret, what the worker does not use included.
func TestSecrets(t *testing.T) {
	var got []string
	for _, s := range new(codex.Provider).Secrets(secret.New(`{"auth_mode":"chatgpt","tokens":{"access_token":"one","refresh_token":"two","id_token":"three"}}`)) {
		got = append(got, s.Reveal())
	}
	for _, want := range []string{"one", "two", "three"} {
		if !strings.Contains(strings.Join(got, " "), want) {
			t.Errorf("%s is not among the secrets %q", want, got)
		}
	}
	if strings.Contains(strings.Join(got, " "), "chatgpt") {
		t.Errorf("the mode is among the secrets %q", got)
	}
}

func TestCheck(t *testing.T) {
	for field, change := range map[string]func(*providers.Task){
		"userRequest":                    func(t *providers.Task) { t.Prompt = say(" ") },
		"codingAssistantAuthentication":  func(t *providers.Task) { t.Credential = secret.New("{}") },
		"providerOptions.model":          func(t *providers.Task) { t.Options.Model = "--help" },
		"providerOptions.permissionMode": func(t *providers.Task) { t.Options.PermissionMode = "dontAsk" },
		"providerOptions.maxTurns":       func(t *providers.Task) { t.Options.MaxTurns = 3 },
	} {
		task := providers.Task{Prompt: say("x"), Credential: secret.New(apiKey)}
		p := codex.New(codex.Config{})
		if err := p.Check(task); err != nil {
			t.Fatal(err)
		}
		change(&task)
		wrong := new(providers.FieldError)
		if err := p.Check(task); !errors.As(err, &wrong) || wrong.Field != field || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
