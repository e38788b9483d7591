package gitops_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
)

// gitAccepts asks git itself whether a branch can have the name. A NUL cannot even be asked for.
func gitAccepts(name string) bool {
	return !strings.ContainsRune(name, 0) && exec.Command("git", "check-ref-format", "--branch", name).Run() == nil
}

func TestValidBranch(t *testing.T) {
	for _, name := range []string{
		"main", "feature/login", "release-1.0", "dependabot/npm_and_yarn/@types/node-20", "ü", "a@b", "$(id)", "a;b", "x.y", "fix#12", "a=b", "HEAD/x", "refs",
	} {
		if err := gitops.ValidBranch(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if !gitAccepts(name) {
			t.Errorf("git does not accept %q", name)
		}
	}
	for _, name := range []string{
		"", "-d", "--upload-pack=x", "a..b", "x.lock", "x.lock/y", "@{-1}", "a@{1}", "@", "HEAD", "refs/heads/x", "a b", "a\nb", "a\x00b", "a\x7fb", ".a", "a/.b",
		"a.", "a/", "/a", "a//b", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", `a\b`, "\xff", strings.Repeat("x", 300),
	} {
		if gitops.ValidBranch(name) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

func FuzzValidBranch(f *testing.F) {
	for _, seed := range []string{"main", "a/b", "x.lock", "@{-1}", "-x", "a..b", "ü", "HEAD"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if gitops.ValidBranch(name) == nil && !gitAccepts(name) {
			t.Errorf("%q is accepted, git refuses it", name)
		}
	})
}

func TestSessionBranch(t *testing.T) {
	tests := []struct{ prefix, name, id, want string }{
		{"aicw", "Add a login form", "3f2c1b9e-0000-4000-8000-0123456789ab", "aicw/add-a-login-form-456789ab"},
		{"team/bots", "Füße & Ångström: don't!", "s1", "team/bots/fusse-angstrom-dont-s1"},
		{"aicw/", "修复登录错误", "abc", "aicw/session-abc"},
		{"", "x", "abc", "aicw/x-abc"},
		{"-bad", "x", "a..b", "aicw/x-a--b"},
		{"a b", "../../etc/passwd", "x.lock", "aicw/etc-passwd-x-lock"},
		{"aicw", strings.Repeat("word ", 40), "12345678", "aicw/word-word-word-word-word-word-word-word-word-word-12345678"},
		{"aicw", "", "", "aicw/session"},
	}
	for _, tt := range tests {
		if got := gitops.SessionBranch(tt.prefix, tt.name, tt.id); got != tt.want {
			t.Errorf("SessionBranch(%q, %q, %q) = %q, want %q", tt.prefix, tt.name, tt.id, got, tt.want)
		}
	}
}

func FuzzSessionBranch(f *testing.F) {
	f.Add("aicw", "Add a thing", "0123456789abcdef")
	f.Add("a/b", "ﬁx ẞ …", "..lock")
	f.Fuzz(func(t *testing.T, prefix, name, id string) {
		branch := gitops.SessionBranch(prefix, name, id)
		if err := gitops.ValidBranch(branch); err != nil || !gitAccepts(branch) {
			t.Errorf("SessionBranch(%q, %q, %q) = %q: %v", prefix, name, id, branch, err)
		}
	})
}

func TestSessionName(t *testing.T) {
	tests := map[string]string{
		"Add a login form.":                           "Add a login form",
		"Please, could you fix the bug? It hurts.":    "Fix the bug",
		"# Title\n\nbody":                             "Title",
		"\n\n  ***\n- first item\n- second":           "First item",
		"use v1.2.3 of foo. Then test":                "Use v1.2.3 of foo",
		"":                                            "New session",
		"   \n\t ???":                                 "New session",
		"please":                                      "Please",
		"ünïcode name\x00\x1b[31m":                    "Ünïcode name[31m",
		"修复登录错误。然后测试":                                 "修复登录错误",
		strings.Repeat("wordy ", 30):                  "Wordy wordy wordy wordy wordy wordy wordy wordy wordy wordy…",
		"\u202Ereversed and\u2066 hidden\u200B marks": "Reversed and hidden marks",
	}
	for prompt, want := range tests {
		if got := gitops.SessionName(prompt); got != want {
			t.Errorf("SessionName(%q) = %q, want %q", prompt, got, want)
		}
	}
}

func TestCommitMessage(t *testing.T) {
	tests := []struct {
		prompt, want string
		wip          bool
	}{
		{"Add a login form.", "feat: add a login form\n", false},
		{"Add a login form.", "wip: add a login form\n", true},
		{"Please fix the crash in parse()", "fix: fix the crash in parse()\n\nPlease fix the crash in parse()\n", false},
		{"Refactor Foo", "refactor: refactor Foo\n", false},
		{"Update the README", "docs: update the README\n", false},
		{"Add tests for the parser", "test: add tests for the parser\n", false},
		{"API keys must expire", "chore: API keys must expire\n", false},
		{"Speed up startup\n\nIt takes 3 s.", "perf: speed up startup\n\nSpeed up startup\n\nIt takes 3 s.\n", false},
		{"", "chore: apply the requested changes\n", false},
		{"\x00\x07", "wip: apply the requested changes\n", true},
	}
	for _, tt := range tests {
		if got := gitops.CommitMessage(tt.prompt, tt.wip); got != tt.want {
			t.Errorf("CommitMessage(%q, %v) = %q, want %q", tt.prompt, tt.wip, got, tt.want)
		}
	}
}

var conventional = regexp.MustCompile(`^(feat|fix|docs|refactor|test|perf|style|build|ci|chore|revert|wip): \S`)

func FuzzCommitMessage(f *testing.F) {
	f.Add("Add a login form", false)
	f.Add(strings.Repeat("é", 70_000), true)
	f.Add("\xff\xfe\r\rplease\u2028fix\x1b]0;x\x07", false)
	f.Fuzz(func(t *testing.T, prompt string, wip bool) {
		message := gitops.CommitMessage(prompt, wip)
		subject, rest, _ := strings.Cut(message, "\n")
		if !conventional.MatchString(subject) || utf8.RuneCountInString(subject) > 72 {
			t.Errorf("subject %q", subject)
		}
		if rest != "" && !strings.HasPrefix(rest, "\n") {
			t.Errorf("no blank line below the subject: %q", message)
		}
		if !utf8.ValidString(message) || len(message) > 65<<10 {
			t.Errorf("%d bytes, %q…", len(message), message[:min(len(message), 100)])
		}
		for _, r := range message {
			if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
				t.Errorf("control character %q", r)
			}
		}
		if name := gitops.SessionName(prompt); name == "" || utf8.RuneCountInString(name) > 60 || strings.ContainsAny(name, "\n\t\r\x00") {
			t.Errorf("session name %q", name)
		}
	})
}
