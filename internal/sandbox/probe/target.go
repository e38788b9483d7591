package probe

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// NewTarget makes what the attempts are aimed at, for a user, until the test ends. What may be read and written are the
// caller's to say: neither OutsideFolder nor ClosedPort may be among it.
func NewTarget(t testing.TB, uid int) Target {
	t.Helper()
	outside := folder(t, elsewhere(t), uid)
	target := Target{
		OutsideFile: filepath.Join(outside, "file"), OutsideFolder: outside, InsideFolder: folder(t, "/tmp", uid),
		Process: outsider(t, uid), AbstractName: "probe-" + filepath.Base(outside),
		ClosedPort: listen(t, "tcp", "127.0.0.1:0"), OpenPort: listen(t, "tcp", "127.0.0.1:0"),
	}
	if err := os.WriteFile(target.OutsideFile, []byte("outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	listen(t, "unix", "@"+target.AbstractName)
	return target
}

// elsewhere is a folder that every sandbox leaves out, and in which this process can make others.
func elsewhere(t testing.TB) string {
	t.Helper()
	if os.Geteuid() == 0 {
		return "/var/lib"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	return home
}

// folder makes a folder for everybody.
func folder(t testing.TB, parent string, uid int) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "probe-") //nolint:usetesting // t.TempDir is closed to others, and in /tmp
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = runAs(uid, "/bin/sh", "-c", `rm -rf "$1"/*`, "sh", dir) // what is left is this process's own
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// outsider is a process of the user in no sandbox.
func outsider(t testing.TB, uid int) int {
	t.Helper()
	p, err := start(uid, "/bin/sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill(); _, _ = p.Wait() })
	return p.Pid
}

func runAs(uid int, argv ...string) error {
	p, err := start(uid, argv...)
	if err != nil {
		return err
	}
	_, err = p.Wait()
	return err
}

func start(uid int, argv ...string) (*os.Process, error) {
	sys := &syscall.SysProcAttr{}
	if uid != os.Geteuid() {
		sys.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	return os.StartProcess(argv[0], argv, &os.ProcAttr{Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}, Sys: sys})
}

func listen(t testing.TB, network, address string) (port int) {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	if tcp, ok := ln.Addr().(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}
