package orchestrator_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// A push that the host turns down ends the job with the host's own words, and the work goes with the session's next push.
func TestPushTurnedDown(t *testing.T) {
	const post = "site.git/git-receive-pack"
	tests := map[string]struct {
		fault       *githost.Fault
		hook        string
		code, words string
	}{
		"a quota":           {&githost.Fault{Status: http.StatusInsufficientStorage, Body: "10 GB of 10 GB used"}, "", "push_rejected", "10 GB of 10 GB used"},
		"an expired token":  {&githost.Fault{Status: http.StatusUnauthorized, Body: "The token has expired."}, "", "git_auth_error", "The token has expired."},
		"no right to write": {&githost.Fault{Status: http.StatusForbidden, Body: "Write access not granted."}, "", "git_auth_error", "Write access not granted."},
		"a hook":            {nil, "GH006: Protected branch update failed", "push_rejected", "GH006: Protected branch update failed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if tt.fault != nil {
				w.host.Fail(post, *tt.fault)
			}
			if err := w.host.Refuse("acme/site", tt.hook); err != nil {
				t.Fatal(err)
			}
			lines := w.mustRun(w.worker(nil), w.job(says("x", "echo one > page.txt", nil)))
			last := lines[len(lines)-1]
			for _, want := range []string{`"error"`, `"` + tt.code + `"`, tt.words, "it is saved in the session"} {
				if !strings.Contains(last, want) {
					t.Errorf("the job ended without %s: %s", want, last)
				}
			}
			if all := strings.Join(lines, "\n"); !strings.Contains(all, `"push_failed"`) || strings.Contains(all, token) {
				t.Errorf("events:\n%s", all)
			}

			w.host.Heal()
			if err := w.host.Refuse("acme/site", ""); err != nil {
				t.Fatal(err)
			}
			w.mustRun(w.worker(nil), w.job(says("x", "true", nil)))
			if got := w.git("show", sessionBranch+":page.txt"); got != "one" {
				t.Errorf("page.txt after the next job: %q", got)
			}
		})
	}
}

// Somebody makes a branch while the agent works whose name is the folder of the session's branch.
func TestBranchIsAFolderMeanwhile(t *testing.T) {
	w := newWorld(t)
	p := says("x", "echo one > page.txt", nil)
	work := p.Edit
	p.Edit = func(ctx context.Context, task providers.Task) error {
		if _, err := w.host.Commit("acme/site", "aicw", "by somebody else", map[string]string{"x": "1"}); err != nil {
			return err
		}
		return work(ctx, task)
	}
	lines := w.mustRun(w.worker(nil), w.job(p))
	last := lines[len(lines)-1]
	if !strings.Contains(last, `"completed"`) || !strings.Contains(last, `"branch":"aicw-add-a-page-site"`) {
		t.Errorf("the job ended with %s", last)
	}
	if all := strings.Join(lines, "\n"); !strings.Contains(all, sessionBranch+" cannot be made") || strings.Contains(all, "other commits") {
		t.Errorf("it is not said:\n%s", all)
	}
	if got := w.git("show", "aicw-add-a-page-site:page.txt"); got != "one" {
		t.Errorf("page.txt: %q", got)
	}
}
