package sandbox

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From which version of landlock on the kernel can do what.
const (
	abiFiles    = 2 // before, no file could be moved from folder to folder, which is how programs install what they made
	abiTruncate = 3
	abiTCP      = 4
	abiDevices  = 5
	abiScopes   = 6
)

// landlockABI is the kernel's version of landlock; 0: it has none.
func landlockABI() int {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(version)
}

// ruleset is what landlock is to leave open.
type ruleset struct {
	fd  int
	abi int
}

// rules makes a ruleset with all that a kernel of the given version can hold back; nil if that is too little.
func (p Policy) rules(abi int) (*ruleset, error) {
	if abi < abiFiles {
		return nil, nil
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: handledFiles(abi)}
	if abi >= abiTCP {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= abiScopes {
		attr.Scoped = unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	// A kernel takes an attribute that is longer than its own as long as the rest is zero.
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return nil, fmt.Errorf("make a landlock ruleset: %w", errno)
	}
	r := &ruleset{fd: int(fd), abi: abi}
	if err := errors.Join(r.openFiles(p), r.openPorts(p.ClosedPorts)); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// openPorts opens every port but the closed ones: landlock has no ranges, and a rule costs less than a microsecond.
func (r *ruleset) openPorts(closed []uint16) error {
	if r.abi < abiTCP {
		return nil
	}
	for port := range math.MaxUint16 + 1 {
		if slices.Contains(closed, uint16(port)) {
			continue
		}
		rule := struct{ access, port uint64 }{unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, uint64(port)}
		if err := r.add(ruleNetPort, unsafe.Pointer(&rule)); err != nil {
			return fmt.Errorf("leave port %d open: %w", port, err)
		}
	}
	return nil
}

// ruleNetPort is LANDLOCK_RULE_NET_PORT, which golang.org/x/sys does not name.
const ruleNetPort = 2

func (r *ruleset) add(kind uintptr, rule unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), kind, uintptr(rule), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// enforce holds the calling thread to the rules.
func (r *ruleset) enforce() error {
	if r == nil {
		return nil
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0); errno != 0 {
		return fmt.Errorf("enforce the landlock ruleset: %w", errno)
	}
	return nil
}

func (r *ruleset) close() {
	if r == nil || r.fd < 0 {
		return
	}
	_ = unix.Close(r.fd)
	r.fd = -1
}

func inOrder(layers []Layer) []Layer {
	return slices.DeleteFunc(Layers(), func(l Layer) bool { return !slices.Contains(layers, l) })
}
