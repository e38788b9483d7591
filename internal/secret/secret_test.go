package secret_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

func TestAStringIsNeverPrinted(t *testing.T) {
	s := secret.New(plain)
	type holder struct {
		Shown  secret.String
		hidden secret.String
		list   []secret.String
	}
	h := holder{Shown: s, hidden: s, list: []secret.String{s}}
	asJSON, err := json.Marshal(map[string]any{"s": s, "h": h})
	if err != nil {
		t.Fatal(err)
	}
	outputs := []string{string(asJSON), s.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		outputs = append(outputs, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, h), fmt.Sprintf(verb, &h))
	}
	for _, out := range outputs {
		if strings.Contains(out, plain) || strings.Contains(out, fmt.Sprintf("%x", plain)) {
			t.Errorf("printed: %s", out)
		}
	}
}

func TestReveal(t *testing.T) {
	if s := secret.New(plain); s.Reveal() != plain || s.IsZero() || s.String() != "[redacted]" {
		t.Errorf("%q, %v, %q", s.Reveal(), s.IsZero(), s)
	}
	if s := secret.New(""); s.Reveal() != "" || !s.IsZero() || s != (secret.String{}) || s.String() != "" {
		t.Errorf("the empty one: %q, %v, %q", s.Reveal(), s.IsZero(), s)
	}
}
