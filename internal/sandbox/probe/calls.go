package probe

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
)

// calls are refused by the filter of system calls alone.
func calls() []Attempt {
	refused := func(name string, try func(Target) error) Attempt { return Attempt{name, sandbox.Syscalls, try} }
	return []Attempt{
		refused("ptrace", func(Target) error { return withChild(attach) }),
		refused("process_vm_readv", readMemory),
		refused("kernel keyring", func(Target) error {
			_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
			return err
		}),
		refused("new user namespace", func(Target) error { return inNamespace(unix.CLONE_NEWUSER) }),
		refused("new user namespace by unshare", func(Target) error { return run("/usr/bin/unshare", "-U", "/bin/true") }),
		refused("clone3", unknown(unix.SYS_CLONE3)),
		refused("io_uring", unknown(unix.SYS_IO_URING_SETUP)),
		refused("bpf", unknown(unix.SYS_BPF)),
		refused("perf_event_open", unknown(unix.SYS_PERF_EVENT_OPEN)),
		refused("netlink but for routes", func(Target) error {
			return openSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT)
		}),
		refused("TCP Fast Open to a closed port", func(t Target) error { return fastOpen(t.ClosedPort) }),
	}
}

func readMemory(Target) error {
	var there, here [8]byte
	local := unix.Iovec{Base: &here[0]}
	local.SetLen(len(here))
	remote := unix.RemoteIovec{Base: uintptr(unsafe.Pointer(&there)), Len: len(there)}
	_, err := unix.ProcessVMReadv(os.Getpid(), []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0)
	return err
}

// sockets take CAP_NET_RAW.
func sockets() []Attempt {
	return []Attempt{
		{"raw socket", sandbox.Syscalls, func(Target) error { return openSocket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) }},
		{"raw IPv6 socket", sandbox.Syscalls, func(Target) error { return openSocket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6) }},
		{"packet socket", sandbox.Syscalls, func(Target) error { return openSocket(unix.AF_PACKET, unix.SOCK_RAW, 0) }},
		{"packet socket of old", sandbox.Syscalls, func(Target) error { return openSocket(unix.AF_INET, unix.SOCK_PACKET, 0) }},
	}
}

func attach(pid int) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// unknown makes a call without arguments that make sense: a kernel that knows the call says so.
func unknown(call uintptr) func(Target) error {
	return func(Target) error {
		_, _, errno := unix.Syscall6(call, 0, 0, 0, 0, 0, 0)
		if errno == unix.ENOSYS {
			return errno
		}
		return nil
	}
}

func openSocket(family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// fastOpen sends data with the first packet, for which nothing is asked of connect(2).
func fastOpen(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Sendto(fd, []byte("GET / HTTP/1.0\r\n\r\n"), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

func inNamespace(flags uintptr) error {
	p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Env: []string{}, Sys: &syscall.SysProcAttr{Cloneflags: flags}})
	if err != nil {
		return err
	}
	_, err = p.Wait()
	return err
}

func run(argv ...string) error {
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Env: []string{}})
	if err != nil {
		return err
	}
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("%s: %w", argv[0], errors.New(state.String()))
	}
	return err
}
