package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/fsuid"
)

// den is a worker, and a spy who may be started in its job.
type den struct {
	*proc
	spy string // the file
	at  targets
}

// newDen starts a worker as its operator should, or under the agent's own user, where nothing stands between the two. The
// agent is in no sandbox: what is refused here is refused without one.
func newDen(t *testing.T, oneUser bool) *den {
	t.Helper()
	dir := agenttest.Dir(t)
	d := &den{spy: filepath.Join(dir, "spy"), at: targets{Canary: "canary-" + rand.Text(), Everything: !oneUser}}
	base := with(env(t), "HOST", "0.0.0.0", "ALLOW_ANONYMOUS", "true", "CODING_ASSISTANT_PROVIDER", "script", "CODING_ASSISTANT_AUTHENTICATION", d.at.Canary,
		"GITHUB_ACCESS_TOKEN", d.at.Canary, "METRICS_ADDR", "127.0.0.1:0", "METRICS_LINGER", "1ms", "SANDBOX", "off")
	asAgent(t, func() error { return copyFile("/proc/self/exe", d.spy) })
	if oneUser {
		base = with(base, "HOME", dir, "STORAGE_DIR", filepath.Join(dir, "store"), "STATE_DIR", filepath.Join(dir, "state"))
		d.proc = startCommand(t, base, "setpriv", fmt.Sprint("--reuid=", agenttest.UID), fmt.Sprint("--regid=", agenttest.UID), "--clear-groups", d.spy)
	} else {
		d.proc = startWorker(t, base)
	}
	d.at.URL, d.at.Metrics, d.at.Worker = strings.Replace(d.URL, "[::]", "127.0.0.1", 1), metricsURL(t, d.proc), d.cmd.Process.Pid
	d.at.Dirs = []string{base["STATE_DIR"], base["STORAGE_DIR"]}
	if !oneUser {
		for _, path := range d.at.Dirs {
			allowSearch(t, filepath.Dir(path))
		}
	}
	return d
}

func asAgent(t *testing.T, f func() error) {
	t.Helper()
	if err := fsuid.Do(agenttest.UID, f); err != nil {
		t.Fatal(err)
	}
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// raid lets the spy loose in a job.
func (d *den) raid() *stream {
	d.t.Helper()
	at, err := json.Marshal(d.at)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.post(script(fmt.Sprintf("AICW_TEST_MAIN=spy %s '%s' $PPID", d.spy, at)))
}

// report is what a spy said: why each attempt was refused, and "" where it was not.
func report(t *testing.T, s *stream) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, e := range s.events {
		data, _ := e["data"].(map[string]any)
		text, _ := data["text"].(string)
		var o outcome
		if json.Unmarshal([]byte(text), &o) == nil && o.Attempt != "" {
			all[o.Attempt] = o.Refused
		}
	}
	return all
}

// TestHostileAgent is the table of what an agent tries. Each row fails where the attempt succeeds, and where its control does
// not: the same attempt where nothing protects.
func TestHostileAgent(t *testing.T) {
	requireTwoUIDs(t)
	reachForTheWorker(t)
	for _, row := range []struct {
		name string
		try  func(*testing.T)
	}{
		{"token in arguments", tokenInArguments},
		{"token in files", tokenInFiles},
		{"push of its own", pushOfItsOwn},
		{"secrets in the session", secretsInTheSession},
		{"printed secrets", printedSecrets},
		{"programs of the repository", programsOfTheRepository},
		{"programs of the system", programsOfTheSystem},
		{"inherited things", inheritedThings},
		{"configuration of the repository", configurationOfTheRepository},
	} {
		t.Run(row.name, row.try)
	}
}

// reachForTheWorker lets a spy loose on a worker. The control is the same attempt on a child of the spy's own, or on a worker
// that is of the agent's own user.
func reachForTheWorker(t *testing.T) {
	d := newDen(t, false)
	s := d.raid()
	s.completed() // so nothing has ended it
	got := report(t, s)
	if code := d.exited(); code != 0 {
		t.Errorf("the worker's exit status is %d", code)
	}
	open := newDen(t, true)
	s = open.raid()
	s.completed()
	control := report(t, s)
	const inspection = `(environ|mem|maps|auxv|process_vm_readv|ptrace|fd|cwd/\.|root/\.|exe)$`
	for _, row := range []struct {
		name     string
		in       map[string]string
		attempts string
		control  string
	}{
		{"environment of the worker", got, `^(worker|supervisor) environ$`, `^victim environ$`},
		{"memory of the worker", got, `^(worker|supervisor) (mem|maps|auxv|process_vm_readv|ptrace)$`, `^victim (mem|maps|auxv|process_vm_readv|ptrace)$`},
		{"files of the worker", got, `^(worker|supervisor) (fd|cwd/\.|root/\.|exe)$`, `^victim (fd|cwd/\.|root/\.|exe)$`},
		{"inspection by the worker's own user", control, `^(worker|supervisor) ` + inspection, `^victim ` + inspection},
		{"secrets of any process", got, `^canary in any other process$`, `^canary in its own child$`},
		{"folders of the worker", got, `folder`, `folder`},
		{"signals", got, `signal`, `signal (0|19|18)$`},
		{"port", got, `^port of the worker$`, `^port of nobody$`},
		{"API", got, `^API`, `^API [^i]`},
	} {
		t.Run(row.name, func(t *testing.T) {
			for name, why := range matching(t, row.in, row.attempts) {
				if why == "" {
					t.Errorf("%s: it could", name)
				}
			}
			for name, why := range matching(t, control, row.control) {
				if why != "" {
					t.Errorf("%s: the control fails, so the attempt proves nothing: %s", name, why)
				}
			}
		})
	}
	for name, why := range got {
		if strings.HasPrefix(name, "API") && name != "API in a user namespace" && !strings.Contains(why, `"error":"forbidden"`) && !strings.Contains(why, "its own agent") && !strings.Contains(why, "the job's end") {
			t.Errorf("%s is refused for another reason: %s", name, why)
		}
	}
}

func matching(t *testing.T, all map[string]string, pattern string) map[string]string {
	t.Helper()
	found, re := make(map[string]string), regexp.MustCompile(pattern)
	for name, why := range all {
		if re.MatchString(name) {
			found[name] = why
		}
	}
	if len(found) == 0 {
		t.Fatalf("nothing of %q was tried: %v", pattern, all)
	}
	return found
}

// TestHostileAgentEndsItsWorker is the control of those attempts after which a job does not go on.
func TestHostileAgentEndsItsWorker(t *testing.T) {
	requireTwoUIDs(t)
	for _, attempt := range []string{"API abort", "API leave before the answer"} {
		t.Run(attempt, func(t *testing.T) {
			d := newDen(t, true)
			d.at.Only = attempt
			d.raid().failed("aborted")
		})
	}
	t.Run("kill", func(t *testing.T) {
		d := newDen(t, true)
		d.at.Only = "worker signal 9"
		s := d.raid()
		for more := true; more; _, more = s.next() {
		}
		d.exited()
		if status := d.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
			t.Errorf("the worker ended with %v", d.cmd.ProcessState)
		}
	})
}

// An operator on the worker's own machine is served, whatever user that is, but the agent's.
func TestOperatorOfTheSameMachine(t *testing.T) {
	requireTwoUIDs(t)
	p := startWorker(t, env(t))
	for uid, want := range map[int]int{os.Geteuid(): http.StatusOK, agenttest.UID + 1: http.StatusOK, agenttest.UID: http.StatusForbidden} {
		var c net.Conn
		err := fsuid.Do(uid, func() (err error) {
			c, err = net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != want {
			t.Errorf("uid %d: %v, %v; want %d", uid, res, err, want)
		}
	}
}
