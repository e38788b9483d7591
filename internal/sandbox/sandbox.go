// Package sandbox takes rights away from a thread and from every process that comes from it, for good, with what any
// process may use without a privilege: landlock for files, TCP ports and signals, seccomp for system calls, and limits.
// Which of them a kernel has differs; see [Missing].
package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Layer is a part of the sandbox that a kernel may lack.
type Layer string

// The layers, and what a kernel without them leaves open.
const (
	Files    Layer = "files"    // landlock from ABI 2 (Linux 5.19): files beyond Policy.Read and Policy.Write
	TCP      Layer = "tcp"      // landlock from ABI 4 (Linux 6.7): connections to Policy.ClosedPorts
	Signals  Layer = "signals"  // landlock from ABI 6 (Linux 6.12): signals to processes outside, and their abstract sockets
	Syscalls Layer = "syscalls" // seccomp: system calls that the filter refuses
)

// Layers are all of them.
func Layers() []Layer { return []Layer{Files, TCP, Signals, Syscalls} }

// Missing returns the layers that this kernel lacks, or that something around this process forbids it to use.
func Missing() []Layer { return missing(landlockABI()) }

func missing(abi int) (missing []Layer) {
	for layer, least := range map[Layer]int{Files: abiFiles, TCP: abiTCP, Signals: abiScopes} {
		if abi < least {
			missing = append(missing, layer)
		}
	}
	if !hasSeccomp() {
		missing = append(missing, Syscalls)
	}
	return inOrder(missing)
}

// Policy says what is left.
type Policy struct {
	Read           []string // files and folders with all below them that may be read and run; those that are not there are left out
	Write          []string // folders that may be changed too, with all below them; each must be there
	ClosedPorts    []uint16 // TCP ports to which nobody connects, on any host; the others stay open
	UserNamespaces bool     // new ones may be made
}

// Box is a sandbox that is prepared, and that nobody is in yet.
type Box struct {
	rules  *ruleset // nil: this kernel has no landlock
	filter []unix.SockFilter
}

// Prepare does all that takes time: some fifty milliseconds for the ports. Paths are opened with the rights of the calling
// thread. What this kernel lacks is left out. The box must be entered, or closed.
func (p Policy) Prepare() (*Box, error) {
	return p.prepare(landlockABI())
}

func (p Policy) prepare(abi int) (*Box, error) {
	rules, err := p.rules(abi)
	if err != nil {
		return nil, fmt.Errorf("prepare the sandbox: %w", err)
	}
	box := &Box{rules: rules}
	if hasSeccomp() {
		if box.filter, err = assemble(p.program()); err != nil {
			box.Close()
			return nil, fmt.Errorf("prepare the sandbox: %w", err)
		}
	}
	return box, nil
}

// Close gives up a box that nobody entered.
func (b *Box) Close() { b.rules.close() }

// Enter puts the calling thread into the box, with all threads and processes that it starts from now on, and limits what
// this process may open. The caller must have locked its goroutine to the thread, and never unlock it. A box can be
// entered once. After an error the thread may have lost some rights and not others: it must start nothing.
func (b *Box) Enter() error {
	defer b.Close()
	if err := limit(); err != nil {
		return fmt.Errorf("enter the sandbox: %w", err)
	}
	// Without it neither layer is to be had unprivileged: a program with another user's rights would inherit the box.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("enter the sandbox: forbid new privileges: %w", err)
	}
	if err := b.rules.enforce(); err != nil {
		return fmt.Errorf("enter the sandbox: %w", err)
	}
	if err := install(b.filter); err != nil {
		return fmt.Errorf("enter the sandbox: %w", err)
	}
	return nil
}

// mostFiles is the most that a process may have open: enough for whatever builds software.
const mostFiles = 1 << 16

// limit lowers the limits of this process, which what it starts inherits.
func limit() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	lower := atMost(files, mostFiles)
	if lower == files {
		return nil // and what is started keeps its own soft limit, which Go raised for itself alone
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lower); err != nil {
		return fmt.Errorf("limit the open files: %w", err)
	}
	return nil
}

func atMost(l unix.Rlimit, most uint64) unix.Rlimit {
	return unix.Rlimit{Cur: min(l.Cur, most), Max: min(l.Max, most)}
}
