package probe

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
)

func files() []Attempt {
	return []Attempt{
		{"read outside", sandbox.Files, func(t Target) error { _, err := os.ReadFile(t.OutsideFile); return err }},
		{"read outside by a link", sandbox.Files, readByLink},
		{"list outside", sandbox.Files, func(t Target) error { _, err := os.ReadDir(t.OutsideFolder); return err }},
		{"write outside", sandbox.Files, func(t Target) error { return create(filepath.Join(t.OutsideFolder, "made")) }},
		{"make a folder outside", sandbox.Files, func(t Target) error { return os.Mkdir(filepath.Join(t.OutsideFolder, "folder"), 0o700) }},
		{"move outside", sandbox.Files, moveOut},
		{"environment of another process", sandbox.Files, func(t Target) error {
			_, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", t.Process))
			return err
		}},
		{"write inside", "", func(t Target) error { return create(filepath.Join(t.InsideFolder, "made")) }},
		{"move inside", "", moveWithin},
		{"write to /dev/shm", "", func(Target) error { return temporary("/dev/shm") }},
		{"write to /tmp", "", func(Target) error { return temporary("/tmp") }},
		{"read /etc", "", func(Target) error { _, err := os.ReadFile("/etc/passwd"); return err }},
		{"own /proc", "", func(Target) error { return os.WriteFile("/proc/self/comm", []byte("probe"), 0) }},
		{"pseudo-terminal", "", openTerminal},
	}
}

func create(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }

func temporary(dir string) error {
	f, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return err
	}
	defer f.Close()
	return os.Remove(f.Name())
}

func readByLink(t Target) error {
	link := filepath.Join(t.InsideFolder, "link")
	if err := os.Symlink(t.OutsideFile, link); err != nil {
		return nil // what was to be tried was not: it counts as got through, and a test of a sandbox fails
	}
	_, err := os.ReadFile(link)
	return err
}

func moveOut(t Target) error {
	inside := filepath.Join(t.InsideFolder, "to-move")
	if create(inside) != nil {
		return nil
	}
	return os.Rename(inside, filepath.Join(t.OutsideFolder, "moved"))
}

func moveWithin(t Target) error {
	a, b := filepath.Join(t.InsideFolder, "a"), filepath.Join(t.InsideFolder, "b")
	for _, dir := range []string{a, b} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if err := create(filepath.Join(a, "file")); err != nil {
		return err
	}
	return os.Rename(filepath.Join(a, "file"), filepath.Join(b, "file"))
}

// openTerminal does what a program does that gives another one a terminal.
func openTerminal(Target) error {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(master) }()
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return fmt.Errorf("number: %w", err)
	}
	slave, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(slave) }()
	_, err = unix.IoctlGetTermios(slave, unix.TCGETS)
	return err
}

func network() []Attempt {
	return []Attempt{
		{"connect to a closed port", sandbox.TCP, func(t Target) error { return dial("127.0.0.1", t.ClosedPort) }},
		{"connect to a closed port by IPv6", sandbox.TCP, func(t Target) error { return dial("::ffff:127.0.0.1", t.ClosedPort) }},
		{"connect to an open port", "", func(t Target) error { return dial("127.0.0.1", t.OpenPort) }},
		{"a test server", "", serve},
		{"the network interfaces", "", func(Target) error { _, err := net.Interfaces(); return err }},
		{"UDP", "", func(Target) error { return openSocket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP) }},
	}
}

func dial(host string, port int) error {
	conn, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}

// serve is a server and its client, as in a test of a web application.
func serve(Target) error {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	res, err := server.Client().Get(server.URL)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func processes() []Attempt {
	return []Attempt{
		{"signal to a process outside", sandbox.Signals, func(t Target) error { return unix.Kill(t.Process, 0) }},
		{"abstract socket of a process outside", sandbox.Signals, func(t Target) error {
			conn, err := net.Dial("unix", "@"+t.AbstractName)
			if err != nil {
				return err
			}
			return conn.Close()
		}},
		{"signal to a child", "", func(Target) error { return withChild(func(pid int) error { return unix.Kill(pid, unix.SIGTERM) }) }},
	}
}

// withChild runs f while a child of this process sleeps.
func withChild(f func(pid int) error) error {
	child, err := os.StartProcess("/bin/sleep", []string{"sleep", "60"}, &os.ProcAttr{Env: []string{}})
	if err != nil {
		return err
	}
	defer func() { _ = child.Kill(); _, _ = child.Wait() }()
	return f(child.Pid)
}
