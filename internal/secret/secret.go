// Package secret keeps credentials from being printed: a string that cannot be, and a scrubber for what others print.
package secret

import "fmt"

const redacted = "[redacted]"

// String holds a secret. It prints, formats and marshals as "[redacted]", also inside unexported fields of
// other structs, where fmt cannot call methods: it holds a pointer, of which only an address would be seen.
// The zero String is empty. It is safe for concurrent use.
type String struct{ value *string }

// New wraps a secret; the empty string gives the zero String.
func New(s string) String {
	if s == "" {
		return String{}
	}
	return String{value: &s}
}

// Reveal returns the secret itself. Every call is a place to look at in a review.
func (s String) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no secret.
func (s String) IsZero() bool { return s.value == nil }

// String implements fmt.Stringer.
func (s String) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// Format implements fmt.Formatter, so that no verb prints the secret.
func (s String) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText implements encoding.TextMarshaler, and so JSON too.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
