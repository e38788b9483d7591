package agentproc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const canary = "canary-token-0123456789"

// lines runs a shell script and returns what Lines gave, long lines as their ends and lengths.
func lines(t *testing.T, script string) []string {
	t.Helper()
	p, err := agenttest.Start(t, secret.New(canary)).Command("sh", "-c", script).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := p.Lines(func(line []byte) error {
		got = append(got, string(line))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLinesAreScrubbed(t *testing.T) {
	got := lines(t, `printf '{"a":"`+canary+`"}\nx`+canary+`y\n`+canary+`'`)
	if diff := cmp.Diff([]string{`{"a":"[redacted]"}`, "x[redacted]y", "[redacted]"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestALongLineIsCutAndTheNextOnesCome(t *testing.T) {
	got := lines(t, `head -c 20971520 /dev/zero | tr '\0' x; echo; echo '{"next":1}'; head -c 16777216 /dev/zero | tr '\0' y; printf '\nz'`)
	if len(got) != 4 || got[1] != `{"next":1}` || got[3] != "z" {
		t.Fatalf("%d lines", len(got))
	}
	if n := len(got[0]); n > agentproc.MaxLine || n < agentproc.MaxLine-1000 || !strings.HasSuffix(got[0], "x…[truncated]") {
		t.Errorf("the long line has %d bytes and ends in %q", n, got[0][n-20:])
	}
	if n := len(got[2]); n != agentproc.MaxLine {
		t.Errorf("the line of the limit's length has %d bytes", n)
	}
}

func TestASecretAtTheCutIsNotShown(t *testing.T) {
	for _, visible := range []int{1, 10, len(canary) - 1} {
		got := lines(t, `head -c `+itoa(agentproc.MaxLine-visible)+` /dev/zero | tr '\0' x; echo `+canary)
		if end := got[0][len(got[0])-100:]; strings.Trim(end, "x") != "…[truncated]" {
			t.Errorf("with %d of its bytes before the cut the line ends in %q", visible, end)
		}
	}
}

func TestLinesStopsAtEmitsError(t *testing.T) {
	p, err := agenttest.Start(t).Command("yes").Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	if err := p.Lines(func([]byte) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Lines: %v", err)
	}
	if err := p.Wait(); err == nil { // nobody reads: SIGPIPE
		t.Error("yes ended well")
	}
	if err := p.Lines(func([]byte) error { return nil }); err == nil {
		t.Error("a second Lines succeeds")
	}
}

func TestLineJSON(t *testing.T) {
	tests := map[string]struct {
		line, want string
		truncated  bool
	}{
		"object":          {line: `{"a": 1}`, want: `{"a": 1}`},
		"scalar":          {line: `12`, want: `12`},
		"cut scalar":      {line: `12`, truncated: true, want: `"12"`},
		"cut by Lines":    {line: `{"a":1}…[truncated]`, want: `"{\"a\":1}…[truncated]"`},
		"text":            {line: `Warning: "x"`, want: `"Warning: \"x\""`},
		"empty":           {line: ``, want: `""`},
		"two values":      {line: `{} {}`, want: `"{} {}"`},
		"invalid UTF-8":   {line: "{\"a\":\"\xff\"}", want: "{\"a\":\"\ufffd\"}"},
		"carriage return": {line: "{\"a\":\r1}", want: `{"a":1}`},
		"NUL":             {line: "\x00", want: `"\u0000"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := string(agentproc.LineJSON([]byte(tt.line), tt.truncated)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func FuzzLineJSON(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":`, "\xff", "a\rb", "[1,\r\n2]", `"\ud800"`, strings.Repeat("[", 20_000)} {
		f.Add([]byte(seed), false)
	}
	f.Add([]byte(`1`), true)
	f.Fuzz(func(t *testing.T, line []byte, truncated bool) {
		before := bytes.Clone(line)
		got := agentproc.LineJSON(line, truncated)
		if !json.Valid(got) || bytes.ContainsAny(got, "\r\n") {
			t.Errorf("%q became %q", line, got)
		}
		if truncated && got[0] != '"' {
			t.Errorf("a truncated line became %q", got)
		}
		if len(got) > 0 {
			got[0] = 'x'
		}
		if !bytes.Equal(before, line) {
			t.Error("the result shares the line's memory")
		}
	})
}

func BenchmarkLines(b *testing.B) {
	a := agenttest.Start(b, secret.New(canary), secret.New("ghp_canary0123456789abcdefghijklmn"))
	line := `{"type":"assistant","message":"` + strings.Repeat("some ordinary text, ", 50) + `"}`
	b.SetBytes(int64(20_000 * (len(line) + 1)))
	for b.Loop() {
		p, err := a.Command("sh", "-c", `yes "$0" | head -n 20000`, line).Start(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		if err := p.Lines(func([]byte) error { n++; return nil }); err != nil || n != 20_000 {
			b.Fatal(n, err)
		}
		_ = p.Wait()
	}
}

// TestTextFitsAsJSON however long its characters become there, and all of it is kept that fits.
func TestTextFitsAsJSON(t *testing.T) {
	for _, char := range []string{"x", "\x01", `"`, "<", "é", "\u2028", "\xff", "日"} {
		text := agentproc.Text([]byte(strings.Repeat(char, agentproc.MaxLine)))
		encoded, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(encoded); n > agentproc.MaxLine+2 || n < agentproc.MaxLine/4 || !strings.HasSuffix(text, char+"…[truncated]") {
			t.Errorf("%q: %d bytes of JSON, ends in %q", char, n, text[max(len(text)-30, 0):])
		}
	}
	for _, whole := range []string{"", "words", strings.Repeat("x", agentproc.MaxLine-20)} {
		if text := agentproc.Text([]byte(whole)); text != whole {
			t.Errorf("%d bytes became %d", len(whole), len(text))
		}
	}
}
