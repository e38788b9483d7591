package sandbox_test

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
)

// call is a system call as a filter sees it.
type call struct {
	arch, number uint32
	args         [4]uint32
}

func native(number uint32, args ...uint32) (c call) {
	c.arch, c.number = sandbox.NativeArch, number
	copy(c.args[:], args)
	return c
}

// answer runs the filter, in a machine that reads words as networks send them.
func (c call) answer(t *testing.T, p sandbox.Policy) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[0:], c.number)
	binary.BigEndian.PutUint32(data[4:], c.arch)
	for i, arg := range c.args {
		binary.BigEndian.PutUint32(data[16+8*i:], arg)
	}
	vm, err := bpf.NewVM(p.Program())
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(verdict)
}

// TestSystemCalls asks for those that no machine of the tests can show, beside some that it can.
func TestSystemCalls(t *testing.T) {
	const allowed uint32 = unix.SECCOMP_RET_ALLOW
	refused := func(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }
	socket := func(family, kind, protocol uint32) call { return native(unix.SYS_SOCKET, family, kind, protocol) }
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	for name, row := range map[string]struct {
		call call
		want uint32
	}{
		"TCP":                     {socket(unix.AF_INET, unix.SOCK_STREAM|flags, 0), allowed},
		"TCP by its number":       {socket(unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP), allowed},
		"UDP":                     {socket(unix.AF_INET, unix.SOCK_DGRAM|flags, unix.IPPROTO_UDP), allowed},
		"unix":                    {socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0), allowed},
		"routes":                  {socket(unix.AF_NETLINK, unix.SOCK_RAW|flags, unix.NETLINK_ROUTE), allowed},
		"MPTCP":                   {socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP), refused(unix.EPROTONOSUPPORT)},
		"SMC":                     {socket(unix.AF_INET, unix.SOCK_STREAM, 256), refused(unix.EPROTONOSUPPORT)},
		"SMC as a family":         {socket(unix.AF_SMC, unix.SOCK_STREAM, 0), refused(unix.EAFNOSUPPORT)},
		"SCTP":                    {socket(unix.AF_INET, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP), refused(unix.EPERM)},
		"ping":                    {socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP), refused(unix.EPROTONOSUPPORT)},
		"raw":                     {socket(unix.AF_INET6, unix.SOCK_RAW|flags, unix.IPPROTO_RAW), refused(unix.EPERM)},
		"vsock":                   {socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0), refused(unix.EAFNOSUPPORT)},
		"the kernel's crypto":     {socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), refused(unix.EAFNOSUPPORT)},
		"netfilter":               {socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), refused(unix.EPROTONOSUPPORT)},
		"a pair":                  {native(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM), allowed},
		"a pair of another kind":  {native(unix.SYS_SOCKETPAIR, unix.AF_TIPC, unix.SOCK_STREAM), refused(unix.EAFNOSUPPORT)},
		"sendto":                  {native(unix.SYS_SENDTO, 3, 0, 1, unix.MSG_NOSIGNAL), allowed},
		"sendto with a first one": {native(unix.SYS_SENDTO, 3, 0, 1, unix.MSG_NOSIGNAL|unix.MSG_FASTOPEN), refused(unix.EOPNOTSUPP)},
		"sendmsg":                 {native(unix.SYS_SENDMSG, 3, 0, unix.MSG_FASTOPEN), refused(unix.EOPNOTSUPP)},
		"sendmmsg":                {native(unix.SYS_SENDMMSG, 3, 0, 1, unix.MSG_FASTOPEN), refused(unix.EOPNOTSUPP)},
		"a thread":                {native(unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_THREAD), allowed},
		"a user namespace":        {native(unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_NEWNS), refused(unix.EPERM)},
		"perf_event_open":         {native(unix.SYS_PERF_EVENT_OPEN), refused(unix.ENOSYS)},
		"kernel log":              {native(unix.SYS_SYSLOG), refused(unix.EPERM)},
		"read":                    {native(unix.SYS_READ), allowed},
		"another architecture":    {call{arch: unix.AUDIT_ARCH_I386, number: unix.SYS_READ}, unix.SECCOMP_RET_KILL_PROCESS},
		"none":                    {call{number: unix.SYS_READ}, unix.SECCOMP_RET_KILL_PROCESS},
	} {
		if got := row.call.answer(t, sandbox.Policy{}); got != row.want {
			t.Errorf("%s: %#x, want %#x", name, got, row.want)
		}
	}
	if sandbox.ForeignCalls != 0 {
		if got := native(unix.SYS_PTRACE|sandbox.ForeignCalls).answer(t, sandbox.Policy{}); got != refused(unix.ENOSYS) {
			t.Errorf("a number of another convention: %#x", got)
		}
	}
	for _, c := range []call{native(unix.SYS_CLONE, unix.CLONE_NEWUSER), native(unix.SYS_CLONE3), native(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)} {
		if got := c.answer(t, sandbox.Policy{UserNamespaces: true}); got != allowed {
			t.Errorf("namespaces are asked for, and call %d is answered by %#x", c.number, got)
		}
	}
}
