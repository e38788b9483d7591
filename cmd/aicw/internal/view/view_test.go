package view_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/cmd/aicw/internal/view"
	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each transcript is shown plainly (.txt) and on a terminal (.term.txt, escape sequences and all).
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".jsonl")
		t.Run(filepath.Base(name), func(t *testing.T) {
			golden(t, name+".txt", show(t, file, view.Options{Resume: "aicw run --session"}))
			golden(t, name+".term.txt", show(t, file, view.Options{Terminal: true, Color: true, Width: 60, Resume: "aicw run --session"}))
		})
	}
}

func show(t *testing.T, file string, opts view.Options) string {
	t.Helper()
	var out bytes.Buffer
	v := view.New(&out, opts)
	for _, e := range transcript(t, file) {
		if err := v.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func transcript(t *testing.T, file string) []client.Event {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []client.Event
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		raw := bytes.Clone(lines.Bytes())
		var head struct{ Type, ID string }
		if err := json.Unmarshal(raw, &head); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		events = append(events, client.Event{ID: head.ID, Type: head.Type, Raw: raw})
	}
	return events
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, -update rewrites it):\n%s", file, diff)
	}
}

// Without colours and a terminal to rewrite, nothing that a hostile agent prints leaves a control character.
func TestHostileOutputDoesNotReachTheTerminal(t *testing.T) {
	out := show(t, "testdata/hostile.jsonl", view.Options{Resume: "aicw run --session"})
	if r, bad := firstHostile(out); bad {
		t.Errorf("%U is shown in:\n%q", r, out)
	}
	for _, kept := range []string{"title", "cleared", "red", "link", "rest", "text"} {
		if !strings.Contains(out, kept) {
			t.Errorf("%q was lost in:\n%s", kept, out)
		}
	}
	if strings.Contains(out, "owned") || strings.Contains(out, "evil") {
		t.Errorf("the inside of a control string is shown in:\n%s", out)
	}
}

func firstHostile(s string) (rune, bool) {
	for _, r := range s {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			return r, true
		}
	}
	return 0, false
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"", "plain\ttext\n", "\x1b[31mred\x1b[0m", "\x1b]0;t\x07x", "\xc2\x9b1m", "\x9b1m", "\x1b\x1b[[1m", "a\r\nb\rc", "\u202e", "\x1bP\x1b\\", "\x1b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := view.Clean(s)
		if r, bad := firstHostile(got); bad {
			t.Errorf("Clean(%q) = %q holds %U", s, got, r)
		}
		if !utf8.ValidString(got) {
			t.Errorf("Clean(%q) = %q is not UTF-8", s, got)
		}
		if again := view.Clean(got); again != got {
			t.Errorf("Clean(%q) = %q, and of that %q", s, got, again)
		}
		if line := view.CleanLine(s); strings.ContainsAny(line, "\n\t") {
			t.Errorf("CleanLine(%q) = %q", s, line)
		}
	})
}

func TestCleanKeepsText(t *testing.T) {
	for _, s := range []string{"naïve 日本語 👩‍💻 – “quotes”", "a\n\tb", "C:\\x [1m ]0;"} {
		if got := view.Clean(s); got != s {
			t.Errorf("Clean(%q) = %q", s, got)
		}
	}
}

func TestNoteDoesNotMixWithProgress(t *testing.T) {
	var out bytes.Buffer
	v := view.New(&out, view.Options{Terminal: true})
	pull := client.Event{Type: "github_pull_progress", Raw: json.RawMessage(`{"data":{"type":"message","message":"Receiving","percent":5}}`)}
	if err := v.Event(pull); err != nil {
		t.Fatal(err)
	}
	if err := v.Note("stream %s", "cut"); err != nil {
		t.Fatal(err)
	}
	want := "\r\x1b[Kclone    Receiving 5 %\r\x1b[K         stream cut\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestAWriterThatFailsIsToldOf(t *testing.T) {
	if err := view.New(broken{}, view.Options{}).Note("x"); !errors.Is(err, errBroken) {
		t.Errorf("error is %v", err)
	}
}
