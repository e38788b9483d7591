package all_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/providers/all"
)

func TestNew(t *testing.T) {
	for _, test := range []struct {
		cfg  all.Config
		want []string
	}{
		{all.Config{}, nil},
		{all.Config{Script: true}, []string{"script"}},
		{all.Config{ClaudePath: "/usr/local/bin/claude"}, []string{"claude-code"}},
		{all.Config{ClaudePath: "/usr/local/bin/claude", Script: true}, []string{"claude-code", "script"}},
	} {
		if diff := cmp.Diff(test.want, all.New(test.cfg).Names()); diff != "" {
			t.Errorf("%+v: %s", test.cfg, diff)
		}
	}
}

func TestAliases(t *testing.T) {
	r := all.New(all.Config{ClaudePath: "/usr/local/bin/claude"})
	for _, name := range []string{"claude-code", "ClaudeAgentSDK", "claudeagentsdk", "Claude"} {
		if p, ok := r.Lookup(name); !ok || p.Info().Name != "claude-code" {
			t.Errorf("Lookup(%q): %v", name, p)
		}
	}
	if _, ok := r.Lookup("script"); ok {
		t.Error("the script provider is there unasked")
	}
}
