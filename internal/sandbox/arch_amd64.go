package sandbox

import "golang.org/x/sys/unix"

const (
	nativeArch = unix.AUDIT_ARCH_X86_64
	// foreignCalls is the bit in a call's number that says x32.
	foreignCalls uint32 = 1 << 30
)
