// Package credential reads the credentials that requests bring for assistants: keys, and JSON documents with tokens in them.
// None of its errors quotes a credential.
package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const (
	maxDocument = 64 << 10
	maxToken    = 8 << 10 // gateways hand out long ones
)

// Text is the credential without the spaces around it; an error if it is empty or too long for one.
func Text(raw secret.String) (string, error) {
	text := strings.TrimSpace(raw.Reveal())
	switch {
	case text == "":
		return "", errors.New("it is empty")
	case len(text) > maxDocument:
		return "", fmt.Errorf("it is longer than %d bytes", maxDocument)
	}
	return text, nil
}

// IsDocument reports whether a credential's text is JSON rather than a key.
func IsDocument(text string) bool { return strings.HasPrefix(text, "{") }

// Decode reads the one JSON document that text is.
func Decode(text string, into any) error {
	dec := json.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(into); err != nil {
		return explain(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its JSON")
	}
	return nil
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

// Token accepts what can stand in an HTTP header as it is.
func Token(name, token string) (secret.String, error) {
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

// Secrets are the strings of a credential that must not be seen: the whole of a key, and every string of a document but
// those of the harmless members.
func Secrets(raw secret.String, harmless map[string]bool) []secret.String {
	text := strings.TrimSpace(raw.Reveal())
	var doc map[string]any
	if json.Unmarshal([]byte(text), &doc) != nil {
		if text == "" {
			return nil
		}
		return []secret.String{secret.New(text)}
	}
	return leaves(nil, doc, harmless)
}

func leaves(found []secret.String, value any, harmless map[string]bool) []secret.String {
	switch v := value.(type) {
	case string:
		if v != "" {
			found = append(found, secret.New(strings.TrimSpace(v)))
		}
	case []any:
		for _, one := range v {
			found = leaves(found, one, harmless)
		}
	case map[string]any:
		for name, one := range v {
			if !harmless[name] {
				found = leaves(found, one, harmless)
			}
		}
	}
	return found
}
