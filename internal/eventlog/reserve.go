package eventlog

import (
	"errors"
	"math"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// How much of the disk is kept for what is still to be said when it is full.
const (
	forWorker = 64 << 10 // the worker's own events, which tell how a job ends; agents leave it alone
	forEnd    = 32 << 10 // the terminal event
	ahead     = 1 << 20  // asked for at a time where there is so much
)

// left is how much of the disk an event must leave for others.
func left(b event.Body) int64 {
	switch b.(type) {
	case event.AssistantMessage:
		return forWorker
	case event.Completed, event.Failed:
		return 0
	}
	return forEnd
}

// reserve makes sure that the next n bytes have their place on the disk and that spare bytes are left behind them. A file
// system that cannot promise it is trusted.
func (l *Log) reserve(n, spare int64) error {
	need := l.all.size + n + spare
	if need <= l.reserved {
		return nil
	}
	var err error
	for _, end := range []int64{need + ahead, need} {
		if err = l.allocate(end); err == nil {
			l.reserved = end
			return nil
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		l.reserved = math.MaxInt64
		return nil
	}
	return err
}

func (l *Log) allocate(end int64) error {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	var allocateErr error
	err = conn.Control(func(fd uintptr) {
		for {
			allocateErr = unix.Fallocate(int(fd), unix.FALLOC_FL_KEEP_SIZE, 0, end)
			if !errors.Is(allocateErr, unix.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, allocateErr)
}
