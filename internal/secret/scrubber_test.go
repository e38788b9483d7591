package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const (
	plain   = "canary-token-0123456789"
	special = `cä"nary/<to\ken>&+ %?=` // every escape has something to do
)

// spellings are the ways in which the tests print a secret.
func spellings(t testing.TB, s string) map[string]string {
	asJSON, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := json.Marshal(string(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{
		"raw": s, "json": strings.Trim(string(asJSON), `"`), "json in json": string(twice),
		"hex": hex.EncodeToString([]byte(s)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(s))),
		"path": url.PathEscape(s), "query": url.QueryEscape(s), "user info": url.UserPassword("x", s).String(),
	}
	for lead := range 4 {
		text := []byte("xyz"[:min(lead, 3)] + s + "tail")
		out[fmt.Sprint("base64 +", lead)] = base64.StdEncoding.EncodeToString(text)
		out[fmt.Sprint("base64url +", lead)] = base64.RawURLEncoding.EncodeToString(text)
	}
	return out
}

func TestEverySpellingIsFound(t *testing.T) {
	for _, value := range []string{plain, special, "sixsix", "github_pat_canary0123456789/+=="} {
		s := secret.NewScrubber(secret.New(value))
		for name, text := range spellings(t, value) {
			if got := s.Text("a " + text + " b"); !strings.Contains(got, "[redacted]") || strings.Contains(got, value) {
				t.Errorf("%s of %q: %q", name, value, got)
			}
		}
	}
}

func TestBase64LeavesNoReadablePart(t *testing.T) {
	s := secret.NewScrubber(secret.New(plain))
	for lead := range 3 {
		got := s.Text(base64.StdEncoding.EncodeToString([]byte("user:"[:2+lead] + plain)))
		before, after, found := strings.Cut(got, "[redacted]")
		if !found || len(before) > 7 || len(strings.TrimRight(after, "=")) > 1 {
			t.Errorf("with %d bytes before: %q", 2+lead, got)
		}
	}
}

func TestScrub(t *testing.T) {
	s := secret.NewScrubber(secret.New(plain), secret.New("short"), secret.New(" \nlonger-token\n"), secret.New("token-0123456789-more"), secret.String{})
	tests := map[string]struct{ in, want string }{
		"nothing":          {"nothing to see", "nothing to see"},
		"empty":            {"", ""},
		"several":          {plain + "," + plain + plain, "[redacted],[redacted][redacted]"},
		"too short":        {"a short one", "a short one"},
		"white space":      {"a longer-token b", "a [redacted] b"},
		"overlapping":      {"x" + plain + "-more" + "y", "x[redacted]y"},
		"part of one":      {plain[:len(plain)-1], plain[:len(plain)-1]},
		"after a part":     {plain[:5] + plain, plain[:5] + "[redacted]"},
		"inside of JSON":   {`{"k":"` + plain + `","n":1}`, `{"k":"[redacted]","n":1}`},
		"with a user name": {"https://x:" + plain + "@example.com/", "https://x:[redacted]@example.com/"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := s.Text(tt.in); got != tt.want {
				t.Errorf("Text: %q, want %q", got, tt.want)
			}
			if got := string(s.Bytes([]byte(tt.in))); got != tt.want {
				t.Errorf("Bytes: %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBytesWithoutSecretIsTheSameSlice(t *testing.T) {
	in := []byte("nothing to see")
	if got := secret.NewScrubber(secret.New(plain)).Bytes(in); &got[0] != &in[0] {
		t.Error("it was copied")
	}
}

func TestNilScrubberScrubsNothing(t *testing.T) {
	var s *secret.Scrubber
	var out bytes.Buffer
	w := s.Writer(&out)
	if _, err := w.Write([]byte(plain)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	if s.Text(plain) != plain || string(s.Bytes([]byte(plain))) != plain || out.String() != plain || s.Longest() != 0 {
		t.Error("it scrubbed")
	}
}

func TestWriterHoldsBackOnlyWhatMayBeASecret(t *testing.T) {
	var out bytes.Buffer
	w := secret.NewScrubber(secret.New(plain)).Writer(&out)
	for _, step := range []struct{ in, out string }{
		{"hello", "hello"},
		{"-" + plain[:7], "hello-"},
		{"no", "hello-" + plain[:7] + "no"},
		{plain[:7], "hello-" + plain[:7] + "no"},
		{plain[7:], "hello-" + plain[:7] + "no[redacted]"},
	} {
		if n, err := w.Write([]byte(step.in)); err != nil || n != len(step.in) {
			t.Fatal(n, err)
		}
		if out.String() != step.out {
			t.Fatalf("after %q: %q", step.in, out.String())
		}
	}
}

func TestWriterReportsErrors(t *testing.T) {
	broken := errors.New("broken")
	w := secret.NewScrubber(secret.New(plain)).Writer(failing{broken})
	if _, err := w.Write([]byte("hello")); !errors.Is(err, broken) {
		t.Errorf("Write: %v", err)
	}
	if _, err := w.Write([]byte(plain[:5])); err != nil {
		t.Errorf("Write: %v", err)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("Close: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzScrubber puts spellings of two secrets into a text and cuts it anywhere: no cut may change what comes out, no
// spelling may come out, and what is no secret must.
func FuzzScrubber(f *testing.F) {
	f.Add([]byte("abc\x00def\x01ghi"), uint8(3))
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07"), uint8(1))
	f.Add([]byte("|\x00~\x01\x01!\x02 \x07|"), uint8(2))
	f.Add([]byte("canary-\x00canary-token-0\x03"), uint8(7))
	values := []string{plain, "0123456789-and-more"} // the end of one is the beginning of the other
	s := secret.NewScrubber(secret.New(values[0]), secret.New(values[1]))
	var forms []string
	for _, v := range values {
		asHex := hex.EncodeToString([]byte(v))
		forms = append(forms, v, asHex, strings.ToUpper(asHex), base64.RawStdEncoding.EncodeToString([]byte(v + "!"))[:len(v)*8/6])
	}
	f.Fuzz(func(t *testing.T, template []byte, size uint8) {
		var text, filler []byte
		for _, c := range template {
			if int(c) < len(forms) {
				text = append(text, forms[c]...)
			} else {
				text = append(text, c)
				filler = append(filler, c)
			}
		}
		whole := s.Bytes(text)
		checkClean(t, whole, forms)
		if got := streamed(t, s, text, int(size)+1); !bytes.Equal(got, whole) {
			t.Fatalf("in pieces of %d: %q, whole: %q", int(size)+1, got, whole)
		}
		if !bytes.ContainsAny(filler, "[]"+strings.Join(forms, "")) { // nothing that could complete a form
			if got := bytes.ReplaceAll(whole, []byte("[redacted]"), nil); !bytes.Equal(got, filler) {
				t.Fatalf("%q is left of %q", got, filler)
			}
		}
	})
}

// FuzzScrubberKeepsJSON checks that a JSON line stays one, wherever in its texts the secret stands.
func FuzzScrubberKeepsJSON(f *testing.F) {
	f.Add("before", "after\n", uint8(2))
	s := secret.NewScrubber(secret.New("sk-canary-0123456789"))
	f.Fuzz(func(t *testing.T, before, after string, depth uint8) {
		text := before + "sk-canary-0123456789" + after
		for range depth % 3 {
			inner, err := json.Marshal(map[string]string{"text": text})
			if err != nil {
				t.Fatal(err)
			}
			text = string(inner)
		}
		line, err := json.Marshal(map[string]any{"text": text, "n": 1})
		if err != nil {
			t.Fatal(err)
		}
		got := s.Bytes(line)
		if !json.Valid(got) || bytes.Contains(got, []byte("sk-canary-0123456789")) || !bytes.Contains(got, []byte("[redacted]")) {
			t.Fatalf("%s", got)
		}
	})
}

func checkClean(t *testing.T, out []byte, forms []string) {
	t.Helper()
	for _, form := range forms {
		if bytes.Contains(out, []byte(form)) {
			t.Fatalf("%q came out: %q", form, out)
		}
	}
}

func streamed(t *testing.T, s *secret.Scrubber, text []byte, size int) []byte {
	t.Helper()
	var out bytes.Buffer
	w := s.Writer(&out)
	for len(text) > 0 {
		n := min(size, len(text))
		piece := bytes.Clone(text[:n])
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
		clear(piece) // the writer must not keep it
		text = text[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func BenchmarkBytes(b *testing.B) {
	s := secret.NewScrubber(secret.New(plain), secret.New("ghp_canary0123456789abcdefghijklmn"), secret.New("minio-canary-secret"), secret.New("sk-ant-canary-0123456789"))
	line := []byte(`{"type":"assistant","message":"` + strings.Repeat("some ordinary text, ", 500) + `"}`)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		s.Bytes(line)
	}
}
