package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Where a filter finds what was called (struct seccomp_data). Of an argument it looks at the lower half, as the kernel does
// with all of those that are asked about here.
const (
	wordCall uint32 = 0
	wordArch uint32 = 4
)

func wordArg(n uint32) uint32 { return 16 + 8*n }

// allow is one of the filter's answers, refuse the other.
var allow = []bpf.Instruction{bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}}

func refuse(errno unix.Errno) []bpf.Instruction {
	return []bpf.Instruction{bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(errno)}}
}

// branch is what to do for some values: at most 255 instructions, which end in an answer on every way.
type branch struct {
	values []uint32
	then   []bpf.Instruction
}

// decide loads a word of the call, of which mask is looked at, and takes the branch that has its value.
func decide(word, mask uint32, otherwise []bpf.Instruction, branches ...branch) []bpf.Instruction {
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: word, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
	}
	for _, b := range branches {
		for _, value := range b.values {
			code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: uint8(len(b.then))})
			code = append(code, b.then...)
		}
	}
	return append(code, otherwise...)
}

const whole = ^uint32(0)

// unlessFlag refuses a call that has a flag in an argument.
func unlessFlag(arg, flag uint32, errno unix.Errno) []bpf.Instruction {
	return decide(wordArg(arg), flag, allow, branch{[]uint32{flag}, refuse(errno)})
}

// program is the filter. What is asked about often stands first; calls that are allowed whatever their arguments are cost
// nothing, because the kernel remembers them.
func (p Policy) program() []bpf.Instruction {
	calls := []branch{
		// A first packet with data would connect without being asked whether the port is open.
		{[]uint32{unix.SYS_SENDTO, unix.SYS_SENDMMSG}, unlessFlag(3, unix.MSG_FASTOPEN, unix.EOPNOTSUPP)},
		{[]uint32{unix.SYS_SENDMSG}, unlessFlag(2, unix.MSG_FASTOPEN, unix.EOPNOTSUPP)},
		{[]uint32{unix.SYS_SOCKET}, sockets()},
		{[]uint32{unix.SYS_SOCKETPAIR}, decide(wordArg(0), whole, refuse(unix.EAFNOSUPPORT), branch{[]uint32{unix.AF_UNIX}, allow})},
		{[]uint32{
			unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, // makes sockets and sends, unseen by this filter
			unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, // containers share them
			unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
		}, refuse(unix.ENOSYS)},
		{[]uint32{
			unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP, unix.SYS_SYSLOG,
		}, refuse(unix.EPERM)},
	}
	if !p.UserNamespaces {
		calls = append(
			calls,
			branch{[]uint32{unix.SYS_CLONE, unix.SYS_UNSHARE}, unlessFlag(0, unix.CLONE_NEWUSER, unix.EPERM)},
			// Its flags are in memory, where a filter does not see them. Every libc then takes clone.
			branch{[]uint32{unix.SYS_CLONE3}, refuse(unix.ENOSYS)},
		)
	}
	return append(conventions(), decide(wordCall, whole, allow, calls...)...)
}

// conventions goes on with calls as this architecture numbers them. In those of 32-bit programs the numbers mean other calls.
func conventions() []bpf.Instruction {
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: wordArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: nativeArch, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS},
	}
	if foreignCalls == 0 {
		return code
	}
	return append(
		code,
		bpf.LoadAbsolute{Off: wordCall, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: foreignCalls, SkipFalse: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
	)
}

// sockets allows what programs need: unix sockets, TCP, UDP, and the list of the network interfaces. Other protocols of the
// stream kind (MPTCP, SMC) would connect without being asked whether the port is open.
func sockets() []bpf.Instruction {
	const typeMask = 0xf // without SOCK_CLOEXEC and SOCK_NONBLOCK
	only := func(protocols ...uint32) []bpf.Instruction {
		return decide(wordArg(2), whole, refuse(unix.EPROTONOSUPPORT), branch{protocols, allow})
	}
	inet := decide(
		wordArg(1), typeMask, refuse(unix.EPERM),
		branch{[]uint32{unix.SOCK_STREAM}, only(unix.IPPROTO_IP, unix.IPPROTO_TCP)},
		branch{[]uint32{unix.SOCK_DGRAM}, only(unix.IPPROTO_IP, unix.IPPROTO_UDP)},
	)
	return decide(
		wordArg(0), whole, refuse(unix.EAFNOSUPPORT),
		branch{[]uint32{unix.AF_UNIX}, allow},
		branch{[]uint32{unix.AF_INET, unix.AF_INET6}, inet},
		branch{[]uint32{unix.AF_NETLINK}, only(unix.NETLINK_ROUTE)},
	)
}

func assemble(program []bpf.Instruction) ([]unix.SockFilter, error) {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assemble the seccomp filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return filter, nil
}

// install holds the calling thread to the filter; none is no filter.
func install(filter []unix.SockFilter) error {
	if len(filter) == 0 {
		return nil
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("install the seccomp filter: %w", errno)
	}
	return nil
}

// hasSeccomp asks for the harshest answer of the filter, the latest that kernels learned.
func hasSeccomp() bool {
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	return errno == 0 && nativeArch != 0
}
