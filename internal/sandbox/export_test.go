package sandbox

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ABI is the kernel's version of landlock.
func ABI() int { return landlockABI() }

// MissingWith is Missing on a kernel with this version of landlock.
func MissingWith(abi int) []Layer { return missing(abi) }

// PrepareFor is Prepare on a kernel with this version of landlock.
func PrepareFor(p Policy, abi int) (*Box, error) { return p.prepare(abi) }

// FilesAtMost is the limit of open files, from one that there is.
func FilesAtMost(l unix.Rlimit) unix.Rlimit { return atMost(l, mostFiles) }

// Program is the filter of system calls.
func (p Policy) Program() []bpf.Instruction { return p.program() }

// The conventions of system calls.
const (
	NativeArch   = nativeArch
	ForeignCalls = foreignCalls
)
