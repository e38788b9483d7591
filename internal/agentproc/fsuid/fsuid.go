// Package fsuid does file work in the name of another user: what a root without CHOWN and DAC_OVERRIDE needs, as
// it can neither give away what it made nor enter what is another's.
package fsuid

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// keep is what setfsuid(2) and setfsgid(2) take as "change nothing, tell the current one".
const keep = -1

// Do runs f with the file-system identity uid:uid, so that what f makes belongs to that user and what f opens is
// judged by that user's rights. f runs in a goroutine of its own, whose thread is that user's for so long: file
// work that f starts in other goroutines is not covered. As that user already, f is just called. An error is f's,
// or says that this process may not become uid.
func Do(uid int, f func() error) error {
	if uid == os.Geteuid() {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // released only below, once the thread is itself again; else it ends with the goroutine
		err := as(uid, f)
		if restored := become(os.Geteuid(), os.Getegid()); restored == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func as(uid int, f func() error) error {
	if err := become(uid, uid); err != nil {
		return err
	}
	return f()
}

func become(uid, gid int) error {
	if _, err := unix.SetfsgidRetGid(gid); err != nil {
		return fmt.Errorf("take the file group %d: %w", gid, err)
	}
	if _, err := unix.SetfsuidRetUid(uid); err != nil {
		return fmt.Errorf("take the file user %d: %w", uid, err)
	}
	nowGID, gidErr := unix.SetfsgidRetGid(keep)
	nowUID, uidErr := unix.SetfsuidRetUid(keep)
	if nowUID != uid || nowGID != gid {
		return errors.Join(fmt.Errorf("act as user %d: %w (it takes the capabilities SETUID and SETGID)", uid, unix.EPERM), gidErr, uidErr)
	}
	return nil
}
