package providers_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/providertest"
)

func TestRegistry(t *testing.T) {
	one := &providertest.Scripted{Name: "one", Aliases: []string{"Uno", "ein"}}
	two := &providertest.Scripted{Name: "another"}
	r := providers.NewRegistry(one, two)
	for name, want := range map[string]providers.Provider{
		"one": one, " ONE\n": one, "uno": one, "EIN": one, "Another": two, "": nil, "on": nil, "three": nil,
	} {
		got, ok := r.Lookup(name)
		if got != want || ok != (want != nil) {
			t.Errorf("Lookup(%q): %v, %v", name, got, ok)
		}
	}
	if diff := cmp.Diff([]string{"another", "one"}, r.Names()); diff != "" {
		t.Error(diff)
	}
}

func TestRegistryRefusesDuplicates(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("two providers share a name")
		}
	}()
	providers.NewRegistry(&providertest.Scripted{Name: "one"}, &providertest.Scripted{Name: "two", Aliases: []string{"ONE"}})
}

func TestPromptText(t *testing.T) {
	p := providers.Prompt{Blocks: []providers.Block{{Text: "one"}, {MediaType: "image/png", Data: []byte{1}}, {Text: "two"}}}
	if got := p.Text(); got != "one\n\ntwo" {
		t.Errorf("Text: %q", got)
	}
}

// A request can have as many blocks as its size allows.
func TestTextOfManyBlocks(t *testing.T) {
	blocks := make([]providers.Block, 5_000)
	for i := range blocks {
		blocks[i].Text = strings.Repeat("x", 100)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	text := providers.Prompt{Blocks: blocks}.Text()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; len(text) != 5_000*102-2 || took > 4<<20 {
		t.Errorf("%d bytes allocated for %d", took, len(text))
	}
}

func TestLimitError(t *testing.T) {
	err := fmt.Errorf("assist: %w", &providers.LimitError{Reason: "five hours are used up"})
	if !errors.Is(err, providers.ErrLimit) || errors.Is(err, providers.ErrAuth) {
		t.Errorf("%v is no limit", err)
	}
	if want := "assist: the provider refused for now: five hours are used up"; err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
