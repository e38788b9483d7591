package sandbox

import "golang.org/x/sys/unix"

const (
	nativeArch          = unix.AUDIT_ARCH_AARCH64
	foreignCalls uint32 = 0 // there is one convention
)
