package agentproc_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// playSpy tries what an agent must not be able to do, and prints the outcome of each as one JSON object.
// Its arguments are the worker's pid and a directory of the worker's, and the worker's uid: it does not kill its own.
func playSpy(args []string) {
	worker, _ := strconv.Atoi(args[0])
	found := map[string]string{}
	for name, pid := range map[string]int{"worker": worker, "supervisor": os.Getppid()} {
		for _, file := range []string{"environ", "mem", "maps", "fd", "cwd/.", "root/.", "exe"} {
			found[name+" "+file] = outcome(open(fmt.Sprintf("/proc/%d/%s", pid, file)))
		}
		for _, signal := range []unix.Signal{0, unix.SIGSTOP, unix.SIGKILL} {
			if args[2] == strconv.Itoa(os.Geteuid()) {
				continue
			}
			found[fmt.Sprint(name, " signal ", int(signal))] = outcome(unix.Kill(pid, signal))
		}
		found[name+" ptrace"] = outcome(unix.PtraceSeize(pid))
	}
	found["state dir"] = outcome(open(args[1]))
	found["state file"] = outcome(open(args[1] + "/file"))
	_ = json.NewEncoder(os.Stdout).Encode(found)
}

func open(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func outcome(err error) string {
	if err == nil {
		return "it could"
	}
	return "refused"
}

// hiddenFromTheSameUser is what is refused where worker and agent are one user, too.
var hiddenFromTheSameUser = map[string]bool{
	"supervisor environ": true, "supervisor mem": true, "supervisor fd": true, "supervisor ptrace": true,
}

func TestTheAgentReachesNothingOfTheWorkers(t *testing.T) {
	state := t.TempDir()
	if err := os.Chmod(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state+"/file", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := agenttest.Start(t).Command(self, childMark, "spy", strconv.Itoa(os.Getpid()), state, strconv.Itoa(os.Geteuid())).Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found map[string]string
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	if _, tried := found["supervisor mem"]; !tried {
		t.Errorf("it tried %v", found)
	}
	for what, result := range found {
		if os.Geteuid() != 0 && !hiddenFromTheSameUser[what] {
			continue
		}
		if result != "refused" {
			t.Errorf("%s: %s", what, result)
		}
	}
}

func TestACommandHasOnlyWhatItIsGiven(t *testing.T) {
	t.Setenv("CANARY", "canary-of-the-worker")
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: core.Max, Max: core.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &core) }()
	open, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	inherited, err := unix.Dup(int(open.Fd())) // not closed on exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)

	a := agenttest.Start(t)
	cmd := a.Command("sh", "-c", "env; ls /proc/self/fd; ulimit -c; umask; grep -E 'NoNewPrivs|CapEff|CapBnd|Groups' /proc/self/status; id -u; ps -o sid= $$ | tr -d ' ' | grep -qx $$ && echo leader")
	cmd.Env = []string{"ONLY=this"}
	cmd.Secrets = []secret.String{secret.New("canary-secret-1")}
	out, err := cmd.Output(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	got := string(out)
	if strings.Contains(got, "canary") {
		t.Errorf("it sees the worker's environment:\n%s", got)
	}
	for _, want := range []string{
		"ONLY=this\n", "PATH=" + agentproc.DefaultPath + "\n", "\n0\n1\n2\n3\n4\n0\n0022\n", // 4 is ls's own
		"NoNewPrivs:\t1\n", "\n" + strconv.Itoa(a.UID()) + "\n", "leader\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not found: %q in\n%s", want, got)
		}
	}
	if os.Geteuid() == 0 && (!strings.Contains(got, "CapEff:\t0000000000000000\n") || strings.Contains(got, "Groups:\t0")) {
		t.Errorf("it has rights of root's:\n%s", got)
	}
}

func TestASecretIsReadOnce(t *testing.T) {
	a := agenttest.Start(t)
	cmd := a.Command("sh", "-c", `echo "[$(cat /dev/fd/3)]"; echo "[$(cat /dev/fd/3)]"; echo "[$(cat <&4)]"; echo "[$(cat <&4)]"`)
	cmd.Secrets = []secret.String{secret.New("canary-secret-1"), secret.New("canary-secret-2")}
	out, err := cmd.Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("[canary-secret-1]\n[]\n[canary-secret-2]\n[]\n", string(out)); diff != "" {
		t.Error(diff)
	}
}

func TestTooLargeASecretIsAnError(t *testing.T) {
	cmd := agenttest.Start(t).Command("true")
	cmd.Secrets = []secret.String{secret.New(strings.Repeat("s", 2<<20))}
	err := cmd.Run(t.Context())
	if err == nil || strings.Contains(err.Error(), "sss") {
		t.Errorf("Run: %v", err)
	}
}

func TestStandardStreamsCanBeOpenedByPath(t *testing.T) {
	cmd := agenttest.Start(t).Command("sh", "-c", "cat /dev/stdin > /dev/stdout; echo bad > /dev/stderr; exit 7")
	cmd.Stdin = io.LimitReader(strings.NewReader("hello"), 5)
	out, err := cmd.Output(t.Context())
	if diff := cmp.Diff(&agentproc.ExitError{Name: "sh", Code: 7, Stderr: "bad\n"}, err); diff != "" || string(out) != "hello" {
		t.Errorf("%q\n%s", out, diff)
	}
}

func TestInspectionCanBeDenied(t *testing.T) {
	// In a process of its own: it cannot be taken back.
	out, err := play("denied").CombinedOutput()
	if err != nil || string(out) != "works\n" {
		t.Errorf("%s %v", out, err)
	}
}
