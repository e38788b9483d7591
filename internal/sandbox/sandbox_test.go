package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox/probe"
)

// agentUID is whom the attempts are made as, where the test is root: one without any capability.
const agentUID = 10001

// TestMain lets the test binary be what is put into a sandbox: "box POLICY COMMAND..." and "probe TARGET", "probe-privileged TARGET".
func TestMain(m *testing.M) {
	if len(os.Args) < 3 {
		os.Exit(m.Run())
	}
	var err error
	switch os.Args[1] {
	case "box":
		err = box(os.Args[2], os.Args[3:])
	case "probe":
		err = probe.Main(os.Args[2], os.Stdout, probe.Attempts())
	case "probe-privileged":
		err = probe.Main(os.Args[2], os.Stdout, probe.Privileged())
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		syscall.Exit(1)
	}
	syscall.Exit(0) // os.Exit takes a second with -race
}

// box becomes the command, in a sandbox.
func box(policyJSON string, command []string) error {
	runtime.LockOSThread()
	var policy sandbox.Policy
	if err := json.Unmarshal([]byte(policyJSON), &policy); err != nil {
		return err
	}
	abi, err := strconv.Atoi(os.Getenv("LANDLOCK_ABI"))
	if err != nil {
		return err
	}
	prepared, err := sandbox.PrepareFor(policy, abi)
	if err != nil {
		return err
	}
	if err := prepared.Enter(); err != nil {
		return err
	}
	return unix.Exec(command[0], command, os.Environ())
}

// setting is a place for the attempts, and the policy of a sandbox in which they are to fail.
type setting struct {
	self   string // this binary, where everybody can run it
	uid    int
	abi    int // of the landlock that is used
	target probe.Target
	policy sandbox.Policy
}

func newSetting(t *testing.T) setting {
	t.Helper()
	uid := os.Geteuid()
	if uid == 0 {
		uid = agentUID
	}
	s := setting{uid: uid, abi: sandbox.ABI(), target: probe.NewTarget(t, uid)}
	s.self = filepath.Join(s.target.InsideFolder, "probe")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.self, self, 0o755); err != nil {
		t.Fatal(err)
	}
	s.policy = sandbox.Policy{
		Read:  []string{"/bin", "/lib", "/lib64", "/usr", "/etc", "/nowhere"},
		Write: []string{s.target.InsideFolder}, ClosedPorts: []uint16{80, uint16(s.target.ClosedPort)},
	}
	return s
}

// command is one of the user who makes the attempts.
func (s setting) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stderr = []string{"PATH=/usr/bin:/bin", "GORACE=atexit_sleep_ms=0", fmt.Sprint("LANDLOCK_ABI=", s.abi)}, "/", os.Stderr
	if s.uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}}
	}
	return cmd
}

// boxed is the command line that runs another one in the setting's sandbox.
func (s setting) boxed(t *testing.T, args ...string) []string {
	t.Helper()
	policy, err := json.Marshal(s.policy)
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{s.self, "box", string(policy)}, args...)
}

// attempt makes the attempts by a command line that ends in "probe" or "probe-privileged".
func (s setting) attempt(t *testing.T, args ...string) map[string]string {
	t.Helper()
	target, err := json.Marshal(s.target)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := s.command(t, append(args, string(target))...)
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	results := map[string]string{}
	if err := json.Unmarshal(out.Bytes(), &results); err != nil {
		t.Fatal(err)
	}
	return results
}

// judge holds what happened in a sandbox without some layers against what happened outside of one.
func judge(t *testing.T, attempts []probe.Attempt, inside, outside map[string]string, missing []sandbox.Layer) {
	t.Helper()
	for _, a := range attempts {
		refused := a.Layer != "" && !slices.Contains(missing, a.Layer)
		got, tried := inside[a.Name]
		switch {
		case outside[a.Name] != "":
			t.Errorf("%s: fails without a sandbox too, so it proves nothing: %s", a.Name, outside[a.Name])
		case !tried || refused != (got != ""):
			t.Errorf("%s: refused %t, want %t (layers that are missing: %v): %s", a.Name, got != "", refused, missing, got)
		}
		t.Logf("%s [%s]: %s", a.Name, a.Layer, got)
	}
}

// TestAttempts makes them on this kernel, and in the sandboxes that older ones can have.
func TestAttempts(t *testing.T) {
	outside := newSetting(t)
	control := outside.attempt(t, outside.self, "probe")
	for abi := range sandbox.ABI() + 1 {
		t.Run(fmt.Sprint("landlock ", abi), func(t *testing.T) {
			s := newSetting(t)
			s.abi = abi
			missing := sandbox.MissingWith(abi)
			judge(t, probe.Attempts(), s.attempt(t, s.boxed(t, s.self, "probe")...), control, missing)
			if all := sandbox.Missing(); abi == sandbox.ABI() && !slices.Equal(missing, all) {
				t.Errorf("missing: %v, and of this kernel %v", missing, all)
			}
		})
	}
}

// TestRawSockets makes the attempts with all capabilities of a user namespace, which the sandbox allows here.
func TestRawSockets(t *testing.T) {
	s := newSetting(t)
	s.policy.UserNamespaces = true
	namespace := []string{"/usr/bin/unshare", "--user", "--map-root-user", "--net", s.self, "probe-privileged"}
	judge(t, probe.Privileged(), s.attempt(t, s.boxed(t, namespace...)...), s.attempt(t, namespace...), sandbox.Missing())
}

// TestLimits compares with those of a process outside, which may be low already.
func TestLimits(t *testing.T) {
	s := newSetting(t)
	shell := []string{"/bin/sh", "-c", "ulimit -Hc; ulimit -Hn"}
	outside, err := s.command(t, shell...).Output()
	if err != nil {
		t.Fatal(err)
	}
	inside, err := s.command(t, s.boxed(t, shell...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var was uint64 = unix.RLIM_INFINITY
	if n, err := strconv.ParseUint(strings.Fields(string(outside))[1], 10, 64); err == nil {
		was = n
	}
	want := []string{"0", fmt.Sprint(sandbox.FilesAtMost(unix.Rlimit{Max: was}).Max)}
	if got := strings.Fields(string(inside)); !slices.Equal(got, want) {
		t.Errorf("outside %q, inside %q, want %q", outside, inside, want)
	}
	if got, want := sandbox.FilesAtMost(unix.Rlimit{Cur: 1024, Max: unix.RLIM_INFINITY}), (unix.Rlimit{Cur: 1024, Max: 65536}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
