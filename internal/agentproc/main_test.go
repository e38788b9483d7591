package agentproc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// childMark is the first argument of the test binary when it plays one of the agent's processes.
const childMark = "play-child"

const self = "/proc/self/exe"

func TestMain(m *testing.M) {
	agentproc.Dispatch(agentproc.Helper{Name: "echo", Run: echo})
	if len(os.Args) > 2 && os.Args[1] == childMark {
		playChild(os.Args[2], os.Args[3:])
		syscall.Exit(0) // os.Exit takes a second under -race
	}
	os.Exit(m.Run())
}

func echo(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) > 0 {
		return errors.New(args[0])
	}
	_, err := io.Copy(stdout, stdin)
	return err
}

// playChild is what the test binary does as one of the agent's processes. It prints a line "pid <n>" for every
// lingering process that it starts, itself included.
func playChild(role string, args []string) {
	switch role {
	case "linger": // ignores whatever can be ignored and never ends
		signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
		tell("pid", os.Getpid())
		wait()
	case "leave": // starts processes as told and exits
		grow(args)
	case "stay": // starts processes as told and stays
		grow(args)
		playChild("linger", nil)
	case "yield": // as stay, but ends when asked to
		grow(args)
		tell("pid", os.Getpid())
		wait()
	case "relay": // starts a successor and exits, for ever
		_ = play("relay").Start()
	case "worker":
		playWorker()
	case "spy":
		playSpy(args)
	case "denied":
		playDenied()
	}
}

func tell(what ...any) { fmt.Fprintln(os.Stdout, what...) }

// wait never returns, without the runtime calling it a deadlock.
func wait() {
	for {
		_ = unix.Pause()
	}
}

// play returns a command that plays a child; it has no environment and no standard output.
func play(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), self, append([]string{childMark}, args...)...)
	cmd.Env = []string{}
	return cmd
}

// grow starts one lingering process for each argument: "plain", "session" (setsid), "orphan" (by a parent that exits),
// "daemon" (both), "reaper" (a daemon, and this process is a sub-reaper), "stopped", "relay" (never the same for long).
func grow(kinds []string) {
	for _, kind := range kinds {
		cmd := play("linger")
		switch kind {
		case "session":
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		case "orphan":
			cmd = play("leave", "plain")
		case "reaper":
			_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
			cmd = play("leave", "session")
		case "daemon":
			cmd = play("leave", "session")
		case "relay":
			cmd = play("relay")
		}
		startAndSee(cmd, kind)
	}
}

// startAndSee starts cmd and passes its "pid" line on before anything else happens.
func startAndSee(cmd *exec.Cmd, kind string) {
	if kind == "relay" {
		_ = cmd.Start()
		return
	}
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		panic(err)
	}
	tell(strings.TrimSpace(line))
	if kind == "stopped" {
		_ = cmd.Process.Signal(unix.SIGSTOP)
	}
}

// playWorker starts an agent whose command has started processes of every kind; it passes their lines on.
func playWorker() {
	agent, err := agentproc.Start(context.Background(), agentproc.Config{UID: 10001})
	if err != nil {
		panic(err)
	}
	p, err := agent.Command(self, childMark, "stay", "plain", "session", "orphan", "daemon").Start(context.Background())
	if err != nil {
		panic(err)
	}
	_ = p.Lines(func(line []byte) error {
		tell(string(line))
		return nil
	})
}

// playDenied shows that a process that may not be inspected can still start agents.
func playDenied() {
	if err := agentproc.DenyInspection(); err != nil {
		panic(err)
	}
	agent, err := agentproc.Start(context.Background(), agentproc.Config{UID: 10001})
	if err != nil {
		panic(err)
	}
	out, err := agent.Helper("echo").Output(context.Background())
	if err != nil || len(out) > 0 {
		panic(fmt.Sprint(string(out), err))
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 {
		panic(fmt.Sprint("dumpable: ", dumpable, err))
	}
	if err := agent.Close(); err != nil {
		panic(err)
	}
	tell("works")
}

// pids collects the processes that children tell of.
func pids(t *testing.T, p *agentproc.Process, n int) []int {
	t.Helper()
	var got []int
	found := make(chan struct{})
	go func() {
		_ = p.Lines(func(line []byte) error {
			if text, ok := strings.CutPrefix(string(line), "pid "); ok && len(got) < n {
				pid, _ := strconv.Atoi(text)
				if got = append(got, pid); len(got) == n {
					close(found)
				}
			}
			return nil
		})
	}()
	select {
	case <-found:
	case <-time.After(30 * time.Second):
		t.Fatalf("fewer than %d processes came up", n)
	}
	return got
}

// alive returns those of the processes that still exist, zombies included.
func alive(pids []int) []int {
	var left []int
	for _, pid := range pids {
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			left = append(left, pid)
		}
	}
	return left
}

// eventually polls until ok holds.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(within)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}
