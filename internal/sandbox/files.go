package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What can be done to files, as landlock names it.
const (
	readRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	fillRights = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	makeRights = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
	deviceRights = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	// What nobody gets: devices are made by root alone, and not by this one.
	neverRights = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK

	// fileRights are those that a rule for something that is no folder can have.
	fileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | fillRights | deviceRights
)

// handledFiles are the rights that a kernel of the given version can hold back.
func handledFiles(abi int) uint64 {
	all := uint64(readRights | fillRights | makeRights | deviceRights | neverRights)
	for right, since := range map[uint64]int{
		unix.LANDLOCK_ACCESS_FS_TRUNCATE: abiTruncate, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV: abiDevices,
	} {
		if abi < since {
			all &^= right
		}
	}
	return all
}

// grant is what may be done below some paths.
type grant struct {
	paths  []string
	rights uint64
	needed bool // a path that cannot be opened is an error
}

// grants are the policy's, and what no program can do without: its own program file, the kernel's files about processes
// (whose owners decide who writes them), the terminals and devices that belong to nobody, and the folders for what is temporary.
func (p Policy) grants() []grant {
	return []grant{
		{p.Read, readRights, false},
		{p.Write, readRights | fillRights | makeRights, true},
		{[]string{"/proc/self/exe", "/sys"}, readRights, false},
		{[]string{"/proc"}, readRights | fillRights, false},
		{[]string{"/dev"}, unix.LANDLOCK_ACCESS_FS_READ_DIR, false},
		{
			[]string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"},
			unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR | fillRights | deviceRights, false,
		},
		{[]string{"/tmp", "/var/tmp", "/dev/shm"}, readRights | fillRights | makeRights, false},
	}
}

func (r *ruleset) openFiles(p Policy) error {
	for _, g := range p.grants() {
		for _, path := range g.paths {
			if err := r.openFile(path, g.rights, g.needed); err != nil {
				return fmt.Errorf("leave %s open: %w", path, err)
			}
		}
	}
	return nil
}

// openFile grants rights to a path. One that this thread cannot open is nothing that those in the box could.
func (r *ruleset) openFile(path string, rights uint64, needed bool) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil && needed {
		return err
	}
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights & handledFiles(r.abi), Parent_fd: int32(fd)}
	return r.add(unix.LANDLOCK_RULE_PATH_BENEATH, unsafe.Pointer(&rule))
}
