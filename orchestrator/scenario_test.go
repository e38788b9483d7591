package orchestrator_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/providertest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// says is a provider that prints a line, does the work of a shell script, and ends with err.
func says(line, work string, err error) *providertest.Scripted {
	return &providertest.Scripted{
		State:    []string{".scripted"},
		Messages: []providers.Message{{Kind: providers.KindInit, SessionID: "talk-1", Raw: json.RawMessage(`{"says":"` + line + `"}`)}},
		Edit:     providertest.Shell(work), Err: err,
		Result: providers.Result{SessionID: "talk-1", Usage: providers.Usage{InputTokens: 7, OutputTokens: 3, CostUSD: 0.5}},
	}
}

// TestScenarios compares whole event streams with golden files: rewrite them by -update, and read the difference.
func TestScenarios(t *testing.T) {
	for _, tt := range []struct {
		name    string
		before  func(w *world) // what has happened earlier
		job     func(job *orchestrator.Job)
		work    string
		err     error
		branch  string // of the host, after the job; empty: none
		content string // of page.txt there
	}{
		{name: "new-session", work: "echo one > page.txt", branch: "aicw/add-a-page-site", content: "one"},
		{name: "nothing-to-commit", work: "true"},
		{
			name: "own-commits", work: "echo mine > page.txt; git add page.txt; git commit -qm 'feat: my own'",
			branch: "aicw/add-a-page-site", content: "mine",
		},
		{name: "no-auto-commit", work: "echo one > page.txt", job: func(job *orchestrator.Job) { job.AutoCommit = false }},
		{name: "no-repository", work: "echo one > page.txt", job: func(job *orchestrator.Job) { job.Repo = nil }},
		{name: "provider-fails", work: "echo half > page.txt", err: providers.ErrNetwork, branch: "aicw/add-a-page-site", content: "half"},
		{
			name: "resume", before: earlier("echo one > page.txt"), work: "echo two >> page.txt",
			branch: "aicw/add-a-page-site", content: "one\ntwo",
		},
		{
			name: "resume-after-others", before: func(w *world) {
				earlier("echo one > page.txt")(w)
				if _, err := w.host.Commit("acme/site", "aicw/add-a-page-site", "by a person", map[string]string{"page.txt": "theirs\n"}); err != nil {
					w.t.Fatal(err)
				}
			}, work: "echo two >> page.txt", branch: "aicw/add-a-page-site", content: "theirs\ntwo",
		},
		{
			name: "push-refused", before: func(w *world) {
				if err := w.host.Refuse("acme/site", "branches are closed on Fridays"); err != nil {
					w.t.Fatal(err)
				}
			}, work: "echo one > page.txt",
		},
		{
			name: "unknown-branch", job: func(job *orchestrator.Job) { job.Repo.Branch = "mian" }, work: "echo one > page.txt",
		},
		{
			name: "secret-in-the-words", job: func(job *orchestrator.Job) {
				job.Prompt.Blocks[0].Text = "Use " + token + " here"
			}, work: "echo one > page.txt", branch: "aicw/use-redacted-here-site", content: "one",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.before != nil {
				tt.before(w)
			}
			job := w.job(says(tt.name, tt.work, tt.err))
			if tt.job != nil {
				tt.job(&job)
			}
			lines := w.mustRun(w.worker(nil), job)
			compareGolden(t, filepath.Join("testdata", tt.name+".jsonl"), steady(lines))
			if strings.Contains(strings.Join(lines, ""), "CANARY") {
				t.Errorf("a secret was told:\n%s", strings.Join(lines, "\n"))
			}
			if tt.branch == "" {
				if got := w.branches(); len(got) > 0 {
					t.Errorf("branches on the host: %v", got)
				}
				return
			}
			if got := w.git("show", tt.branch+":page.txt"); got != tt.content {
				t.Errorf("page.txt on the host: %q, want %q", got, tt.content)
			}
		})
	}
}

// earlier is a first job of the session.
func earlier(work string) func(w *world) {
	return func(w *world) { w.mustRun(w.worker(nil), w.job(says("earlier", work, nil))) }
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestConversationGone resumes a session whose assistant does not know the conversation any more.
func TestConversationGone(t *testing.T) {
	w := newWorld(t)
	earlier("echo one > page.txt")(w)
	p := &forgetful{Scripted: says("anew", "echo two >> page.txt", nil)}
	lines := w.mustRun(w.worker(nil), w.job(p))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"completed"`) {
		t.Errorf("the job ended with %s", last)
	}
	if got := p.resumed(); !cmp.Equal(got, []string{""}) {
		t.Errorf("the runs that did something resumed %q, want one anew", got)
	}
}
