package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// fromEnv asks for the worker's own credential.
const fromEnv = "FROM_ENV"

const authField = "codingAssistantAuthentication"

// provider finds the assistant, and keeps its name as the request spelled it. After a refusal it may be nil.
func (r *request) provider(cfg Config) (providers.Provider, string) {
	name := r.text("codingAssistantProvider")
	if strings.TrimSpace(name) == "" {
		name = cfg.DefaultProvider
	}
	if name == "" {
		r.refuse("codingAssistantProvider", "is required: one of %s", strings.Join(cfg.Providers.Names(), ", "))
		return nil, ""
	}
	p, ok := cfg.Providers.Lookup(name)
	if !ok {
		r.keep(&refusal{
			Status: http.StatusBadRequest, Code: event.UnsupportedProvider, Field: "codingAssistantProvider",
			Message:   "this worker has no such provider; it has " + strings.Join(cfg.Providers.Names(), ", "),
			Supported: cfg.Providers.Names(),
		})
	}
	return p, name
}

// credential is the request's own, or the worker's where the request gives none and the worker's is meant for this provider.
// An object becomes its JSON text.
func (r *request) credential(cfg Config, p providers.Provider) secret.String {
	given := r.get(authField)
	if p == nil {
		return secret.String{}
	}
	if text, _ := given.(string); given != nil && strings.TrimSpace(text) != fromEnv {
		return r.ownCredential(given)
	}
	fallback := fallbackCredential(cfg, p)
	if fallback.IsZero() && (given != nil || p.Info().NeedsCredential) {
		r.refuse(authField, "is required: this worker has no credential of its own for %s", p.Info().Name)
	}
	return fallback
}

// fallbackCredential never travels further than meant: it is for the provider that the worker's configuration names.
func fallbackCredential(cfg Config, p providers.Provider) secret.String {
	meant, ok := cfg.Providers.Lookup(cfg.DefaultProvider)
	if !ok || meant.Info().Name != p.Info().Name {
		return secret.String{}
	}
	return cfg.DefaultCredential
}

func (r *request) ownCredential(given any) secret.String {
	switch v := given.(type) {
	case string:
		return secret.New(v)
	case map[string]any:
		return secret.New(jsonText(v))
	default:
		r.refuse(authField, "must be a string or an object, not %s", kindOf(given))
		return secret.String{}
	}
}

// jsonText writes a decoded object again, without escapes that would hide its secrets from a scrubber.
func jsonText(v map[string]any) string {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // it was decoded from JSON
	}
	return strings.TrimSuffix(buf.String(), "\n")
}
