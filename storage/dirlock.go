package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// lockTimeout is how long another process may keep a lock, which it holds for a moment unless it is frozen.
const lockTimeout = 30 * time.Second

var errLocked = fmt.Errorf("another process keeps its lock: %w", ErrUnavailable)

// lock takes the lock that all keys with the same first element share, among all processes; so a process that is frozen
// while it holds one stops only few sessions, and one that dies lets it go.
func (d *Dir) lock(ctx context.Context, name string) (unlock func(), err error) {
	folder, _, _ := strings.Cut(name, "/")
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(folder))
	file, err := d.root.OpenFile(fmt.Sprintf("%s/%02x", dirLocks, hash.Sum32()%256), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, errLocked)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		locked, err := tryLock(file)
		if err == nil && !locked {
			err = sleep(ctx, pause)
		}
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		if locked {
			return func() { _ = file.Close() }, nil
		}
	}
}

// tryLock takes the lock of an open file, which its closing ends, or the death of its process.
func tryLock(file *os.File) (bool, error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return false, err
	}
	var lockErr error
	err = conn.Control(func(fd uintptr) { lockErr = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) })
	if errors.Is(lockErr, syscall.EWOULDBLOCK) || errors.Is(lockErr, syscall.EINTR) {
		return false, err
	}
	return err == nil && lockErr == nil, errors.Join(err, lockErr)
}

// sleep waits, or returns the cause of ctx's end.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tempFile is a file that no reader sees yet.
type tempFile struct {
	name string
	file *os.File
}

// createTemp makes one and locks it, by which removeLeftovers knows that somebody is still at work on it.
func (d *Dir) createTemp() (tempFile, error) {
	name := dirTemp + "/" + rand.Text()
	file, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return tempFile{}, err
	}
	temp := tempFile{name: name, file: file}
	if _, err := tryLock(file); err != nil {
		d.removeTemp(temp)
		return tempFile{}, err
	}
	return temp, nil
}

// removeTemp removes what has not been moved into its place, and closes it.
func (d *Dir) removeTemp(temp tempFile) {
	_ = d.root.Remove(temp.name)
	_ = temp.file.Close()
}

// leftoverAge keeps removeLeftovers away from a file that has been made and is about to be locked.
const leftoverAge = time.Minute

// removeLeftovers removes the temporary files of processes that are gone.
func (d *Dir) removeLeftovers() error {
	entries, err := fs.ReadDir(d.root.FS(), dirTemp)
	if err != nil {
		return err
	}
	now, err := d.clock()
	if err != nil {
		return err
	}
	for _, entry := range entries {
		stat, err := entry.Info()
		if err == nil && now.Sub(stat.ModTime()) > leftoverAge {
			d.removeLeftover(path.Join(dirTemp, entry.Name()))
		}
	}
	return nil
}

func (d *Dir) removeLeftover(name string) {
	file, err := d.root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	if locked, err := tryLock(file); err == nil && locked {
		_ = d.root.Remove(name)
	}
}
