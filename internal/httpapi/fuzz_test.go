package httpapi_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
)

// FuzzParse compares the strict parser with encoding/json: whatever it takes is valid and means the same there.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		minimal, `{"a":[1,2.5e3,{"b":null}],"c":"\ud83d\ude00\u0000"}`, `{"a":1,"a":2}`, `{} {}`, `{"a":1,}`, `[1]`, "\xff", ``, ` {"":""} `,
		`{"a":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, `{"a":[1,]}`, `{"a" 1}`, `{"a":01}`, `{"a":+1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := httpapi.Parse(body)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("error %q", err)
			}
			return
		}
		var want map[string]any
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil || !json.Valid(body) || !utf8.Valid(body) {
			t.Fatalf("taken: %q: %v", body, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %v, want %v", body, got, want)
		}
	})
}

// FuzzDecodeJob looks at what gets through: nothing in a job needs to be checked again.
func FuzzDecodeJob(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(with(`"websiteSessionId":"a.b","github":{"repoUrl":"https://x/y","branch":"b","directory":"d","accessToken":"t"}`)))
	f.Add([]byte(asking(`[{"type":"text","text":"x"},` + png + `]`)))
	f.Add([]byte(with(`"providerOptions":{"model":"m","maxTurns":3},"workspace":{"x":1},"database":{"accessToken":"x"}`)))
	server := httpapi.New(config(f, newRunner(f), newSessions()))
	id := regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\z`)
	f.Fuzz(func(t *testing.T, body []byte) {
		job, err := server.DecodeJob(body)
		if err != nil {
			return
		}
		if job.Provider == nil || strings.TrimSpace(job.Prompt.Text()) == "" {
			t.Fatalf("%q: %+v", body, job)
		}
		if job.SessionID != "" && (!id.MatchString(job.SessionID) || strings.Contains(job.SessionID, "..")) {
			t.Fatalf("session %q", job.SessionID)
		}
		if r := job.Repo; r != nil {
			if !strings.HasPrefix(r.URL, "https://") || strings.HasPrefix(r.Branch, "-") || strings.ContainsAny(r.Directory, "/\\\x00") ||
				r.Directory == ".." || strings.ContainsAny(r.Token.Reveal(), "\r\n ") {
				t.Fatalf("%q: %+v", body, r)
			}
		}
		for _, notice := range job.Notices {
			if len(notice) > 4000 {
				t.Fatalf("a notice of %d bytes", len(notice))
			}
		}
	})
}
