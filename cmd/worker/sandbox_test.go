package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox/probe"
)

// probeSandbox is what an agent does who looks for the walls of its sandbox.
func probeSandbox(args []string) error { return probe.Main(args[0], os.Stdout, probe.Attempts()) }

// runPoor becomes a worker on a kernel that lacks the system calls of which the numbers are given.
func runPoor([]string) error {
	runtime.LockOSThread()
	var code []bpf.Instruction
	for number := range strings.FieldsSeq(os.Getenv("LACKS")) {
		var call uint32
		if _, err := fmt.Sscan(number, &call); err != nil {
			return err
		}
		code = append(code, bpf.LoadAbsolute{Size: 4}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: call, SkipFalse: 1},
			bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	}
	raw, err := bpf.Assemble(append(code, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}))
	if err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return err
	}
	if err := os.Setenv("AICW_TEST_MAIN", "worker"); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args[:1], os.Environ())
}

// jail is a worker, and what its agent is to try.
type jail struct {
	*proc
	t      *testing.T
	target probe.Target
	probe  string
}

// newJail makes all but the worker.
func newJail(t *testing.T) *jail {
	t.Helper()
	uid := os.Geteuid()
	if uid == 0 {
		uid = agenttest.UID
	}
	j := &jail{t: t, target: probe.NewTarget(t, uid)}
	j.probe = filepath.Join(j.target.InsideFolder, "probe")
	if err := copyFile("/proc/self/exe", j.probe); err != nil {
		t.Fatal(err)
	}
	return j
}

// start starts the worker. Its agent may not connect to the target's closed port, unless a change says otherwise.
func (j *jail) start(changes ...string) *jail {
	j.t.Helper()
	j.proc = startWorker(j.t, with(with(env(j.t), "SANDBOX_CLOSED_PORTS", fmt.Sprint("80,", j.target.ClosedPort)), changes...))
	return j
}

// tries has the agent make the attempts.
func (j *jail) tries() map[string]string {
	j.t.Helper()
	return j.triesAt(j.target)[0]
}

// triesAt makes all attempts at each target, and returns for each why they failed; "" for one that did not.
func (j *jail) triesAt(targets ...probe.Target) (all []map[string]string) {
	j.t.Helper()
	var text strings.Builder
	for _, target := range targets {
		line, err := json.Marshal(target)
		if err != nil {
			j.t.Fatal(err)
		}
		fmt.Fprintf(&text, "AICW_TEST_MAIN=probe GORACE=atexit_sleep_ms=0 %s '%s'\n", j.probe, line)
	}
	s := j.post(script(text.String()))
	s.completed()
	for _, e := range s.events {
		data, _ := e["data"].(map[string]any)
		text, _ := data["text"].(string)
		results := map[string]string{}
		if json.Unmarshal([]byte(text), &results) == nil && len(results) > 0 {
			all = append(all, results)
		}
	}
	if len(all) != len(targets) {
		j.t.Fatalf("%d of %d probes said something:\n%s", len(all), len(targets), s)
	}
	return all
}

// missing is what a worker says of its kernel.
func missing(t *testing.T, p *proc) (mode string, layers []sandbox.Layer) {
	t.Helper()
	res, err := http.Get(p.URL + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var health struct {
		Sandbox struct {
			Mode    string
			Missing []sandbox.Layer
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&health); err != nil {
		t.Fatal(err)
	}
	return health.Sandbox.Mode, health.Sandbox.Missing
}

const lacksLine = "the kernel lacks layers of the agent's sandbox"

// TestSandboxOfTheAgent makes each attempt as an agent does, in a job, and holds what happened against what the worker says
// of its kernel. The control is a worker without a sandbox.
func TestSandboxOfTheAgent(t *testing.T) {
	landlock := fmt.Sprint(unix.SYS_LANDLOCK_CREATE_RULESET)
	outside := newJail(t).start("SANDBOX", "off").tries()
	for name, changes := range map[string][]string{
		"this kernel":      {"SANDBOX", "basic"},
		"without landlock": {"AICW_TEST_MAIN", "poor", "LACKS", landlock},
		"without seccomp":  {"AICW_TEST_MAIN", "poor", "LACKS", fmt.Sprint(unix.SYS_SECCOMP)},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJail(t).start(changes...)
			mode, lacks := missing(t, j.proc)
			want := sandbox.Missing()
			switch name {
			case "without landlock":
				want = union(want, sandbox.Files, sandbox.TCP, sandbox.Signals)
			case "without seccomp":
				want = union(want, sandbox.Syscalls)
			}
			if mode != "basic" || !slices.Equal(lacks, want) {
				t.Errorf("/health says %s, missing %v; want basic, %v", mode, lacks, want)
			}
			inside := j.tries()
			for _, a := range probe.Attempts() {
				refused := a.Layer != "" && !slices.Contains(lacks, a.Layer)
				if outside[a.Name] != "" {
					t.Errorf("%s: fails without a sandbox too, so it proves nothing: %s", a.Name, outside[a.Name])
				}
				if got := inside[a.Name]; refused != (got != "") {
					t.Errorf("%s: refused %t, want %t: %s", a.Name, got != "", refused, got)
				}
			}
			if said := strings.Count(j.logs.String(), lacksLine); (said == 1) != (len(want) > 0) || said > 1 {
				t.Errorf("the log says %d times what is missing", said)
			}
		})
	}
}

func union(layers []sandbox.Layer, more ...sandbox.Layer) (all []sandbox.Layer) {
	for _, l := range sandbox.Layers() {
		if slices.Contains(layers, l) || slices.Contains(more, l) {
			all = append(all, l)
		}
	}
	return all
}

// TestStrictSandbox starts where there is every layer, and nowhere else.
func TestStrictSandbox(t *testing.T) {
	poor := with(env(t), "SANDBOX", "strict", "AICW_TEST_MAIN", "poor", "LACKS", fmt.Sprint(unix.SYS_LANDLOCK_CREATE_RULESET))
	endsAtStart(t, poor, "SANDBOX=strict")
	strict := with(env(t), "SANDBOX", "strict")
	if len(sandbox.Missing()) > 0 {
		endsAtStart(t, strict, "SANDBOX=strict")
		return
	}
	p := startWorker(t, strict)
	if mode, lacks := missing(t, p); mode != "strict" || len(lacks) > 0 {
		t.Errorf("/health says %s, missing %v", mode, lacks)
	}
	p.post(script("true")).completed()
}

// TestSandboxClosesTheWorkersPorts has a job connect to what is the worker's business alone, and to where clouds keep the
// credentials of their machines. What is refused on its way is told from what nobody listens to.
func TestSandboxClosesTheWorkersPorts(t *testing.T) {
	const attempt = "connect to a closed port"
	lacks := slices.Contains(sandbox.Missing(), sandbox.TCP)
	for mode, closed := range map[string]bool{"basic": !lacks, "off": false} {
		base := minioEnv(t)
		j := newJail(t)
		j.start("SANDBOX", mode, "METRICS_ADDR", "127.0.0.1:0", "METRICS_LINGER", "1ms",
			"MINIO_ENDPOINT", base["MINIO_ENDPOINT"], "MINIO_ACCESS_KEY", base["MINIO_ACCESS_KEY"], "MINIO_SECRET_KEY", base["MINIO_SECRET_KEY"],
			"MINIO_BUCKET", base["MINIO_BUCKET"], "STORAGE_DIR", "")
		var targets []probe.Target
		addresses := []string{j.URL, "http://" + base["MINIO_ENDPOINT"], metricsURL(t, j.proc), "http://127.0.0.1:80", "http://127.0.0.1:5001"}
		for _, address := range addresses {
			target := j.target
			if _, err := fmt.Sscanf(portIn(t, address), "%d", &target.ClosedPort); err != nil {
				t.Fatal(err)
			}
			targets = append(targets, target)
		}
		for i, results := range j.triesAt(targets...) {
			address := addresses[i]
			if got := strings.Contains(results[attempt], "permission denied"); got != (closed && !strings.HasSuffix(address, ":5001")) {
				t.Errorf("SANDBOX=%s: %s: closed %t: %s", mode, address, got, results[attempt])
			}
		}
	}
}

func portIn(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil || u.Port() == "" {
		t.Fatalf("%s has no port: %v", raw, err)
	}
	return u.Port()
}

// TestSandboxCanBeOpened as far as its variables say. That the same attempts fail otherwise, TestSandboxOfTheAgent shows.
func TestSandboxCanBeOpened(t *testing.T) {
	j := newJail(t)
	got := j.start("SANDBOX_READ", j.target.OutsideFolder, "SANDBOX_CLOSED_PORTS", "1", "SANDBOX_USER_NAMESPACES", "true").tries()
	for _, open := range []string{"read outside", "list outside", "connect to a closed port", "new user namespace", "new user namespace by unshare", "clone3"} {
		if got[open] != "" {
			t.Errorf("%s: %s", open, got[open])
		}
	}
	if slices.Contains(sandbox.Missing(), sandbox.Files) {
		return
	}
	if got["write outside"] == "" {
		t.Error("what may be read may be written, too")
	}
}

// TestSandboxThatFails is one that the kernel seems to have. Nothing runs half confined.
func TestSandboxThatFails(t *testing.T) {
	p := startWorker(t, with(env(t), "AICW_TEST_MAIN", "poor", "LACKS", fmt.Sprint(unix.SYS_LANDLOCK_RESTRICT_SELF)))
	status, s, body := p.tryPost(script("true"))
	if slices.Contains(sandbox.Missing(), sandbox.Files) {
		s.completed() // it was never asked for
		return
	}
	if status != http.StatusInternalServerError || strings.Contains(body, "landlock") {
		t.Errorf("%d %s", status, body)
	}
	waitFor(t, "the log says why", func() bool { return strings.Contains(p.logs.String(), "enforce the landlock ruleset") })
}

// TestSandboxOfALaterAgent is about a worker whose first agent was spent on a job that did not begin.
func TestSandboxOfALaterAgent(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	holder := startWorker(t, with(env(t), "STORAGE_DIR", store))
	holder.post(script("echo held; sleep 600", "websiteSessionId", "held")).until(says("held"))
	j := newJail(t).start("STORAGE_DIR", store)
	if status, _, body := j.tryPost(script("true", "websiteSessionId", "held")); status != http.StatusConflict {
		t.Fatalf("%d %s", status, body)
	}
	got := j.tries()
	for _, a := range probe.Attempts() {
		if refused := a.Layer != "" && !slices.Contains(sandbox.Missing(), a.Layer); refused != (got[a.Name] != "") {
			t.Errorf("%s: refused %t, want %t: %s", a.Name, got[a.Name] != "", refused, got[a.Name])
		}
	}
}

// tools do what builds and tests of all kinds of projects do.
const tools = `set -e
echo '{"name": "site", "scripts": {"test": "node test.js"}}' > package.json
cat > test.js <<'EOF'
const http = require("http"), os = require("os"), fs = require("fs");
if (!os.networkInterfaces().lo) throw new Error("no loopback");
fs.writeFileSync("/dev/shm/aicw-" + process.pid, "x");
fs.unlinkSync("/dev/shm/aicw-" + process.pid);
const server = http.createServer((q, a) => a.end("served")).listen(0, "127.0.0.1", () =>
  http.get({port: server.address().port}, a => a.on("data", d => console.log("node " + d)).on("end", () => server.close())));
EOF
npm test --silent
git init -q r && cd r && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git gc -q && echo git committed
script -qec 'test -t 0 && echo terminal' /dev/null | grep -o terminal
readlink -e /proc/self/exe > /dev/null && echo proc
getent hosts localhost > /dev/null && echo names
echo core $(ulimit -c) files $(ulimit -Hn)
awk '/^(NoNewPrivs|Seccomp):/ {print $1 $2}' /proc/self/status
`

func TestSandboxLeavesTools(t *testing.T) {
	s := startWorker(t, env(t)).post(script(tools))
	s.completed()
	want := []string{"node served", "git committed", "terminal", "proc", "names", "core 0 files ", "NoNewPrivs:1"}
	if !slices.Contains(sandbox.Missing(), sandbox.Syscalls) {
		want = append(want, "Seccomp:2")
	}
	for _, line := range want {
		if !slices.ContainsFunc(s.events, says(line)) {
			t.Errorf("%q is not said:\n%s", line, s)
		}
	}
}
