package agentproc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/fsuid"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// drainPause is how long the output of a command whose tree is gone may be silent before it counts as ended. Nobody
// should hold it open any more; a process that another command started, and that was handed it, could.
const drainPause = time.Second

// pipes are the descriptors of one command: the child's ends, in order, and the worker's.
type pipes struct {
	child  []int
	stdin  *os.File // nil: the child reads /dev/null
	stdout *os.File // nil: the child writes to /dev/null
	stderr *os.File
}

// newPipes makes the pipes of a command. They belong to the agent's uid, so that the child can open its own
// by path (/dev/stdin, /dev/fd/3), which some programs do. On an error nothing is left open.
func newPipes(uid int, stdin, stdout bool, secrets []secret.String) (*pipes, error) {
	p := &pipes{}
	err := fsuid.Do(uid, func() error { return p.open(stdin, stdout, secrets) })
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pipes) open(stdin, stdout bool, secrets []secret.String) (err error) {
	if p.stdin, err = p.end(stdin, 0); err != nil {
		return err
	}
	if p.stdout, err = p.end(stdout, 1); err != nil {
		return err
	}
	if p.stderr, err = p.end(true, 1); err != nil {
		return err
	}
	for i, s := range secrets {
		if err := p.addSecret(s); err != nil {
			return fmt.Errorf("hand over secret %d: %w", i+1, err)
		}
	}
	return nil
}

// end adds a descriptor for the child, the given end of a new pipe (0 reads, 1 writes), and returns the other end.
// Not wanted, the child gets /dev/null.
func (p *pipes) end(wanted bool, childs int) (*os.File, error) {
	if wanted {
		ours, err := p.pipe(childs)
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(ours), "pipe"), nil
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	p.child = append(p.child, null)
	return nil, nil
}

// pipe makes a pipe, adds one end for the child and returns the other, which never blocks.
func (p *pipes) pipe(childs int) (ours int, err error) {
	var pair [2]int
	if err := unix.Pipe2(pair[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("make a pipe: %w", err)
	}
	p.child = append(p.child, pair[childs])
	ours = pair[1-childs]
	if err := unix.SetNonblock(ours, true); err != nil {
		_ = unix.Close(ours)
		return 0, fmt.Errorf("make a pipe: %w", err)
	}
	return ours, nil
}

// addSecret adds a pipe that holds the secret and that the worker has closed: once read, it is empty.
func (p *pipes) addSecret(s secret.String) error {
	ours, err := p.pipe(0)
	if err != nil {
		return err
	}
	defer closeAll([]int{ours})
	value := []byte(s.Reveal())
	n, err := unix.Write(ours, value)
	if err == nil && n < len(value) || errors.Is(err, unix.EAGAIN) {
		err = fmt.Errorf("%d bytes are too many for a pipe: %w", len(value), unix.EMSGSIZE)
	}
	return err
}

func (p *pipes) close() {
	p.closeChild()
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// closeChild closes this process's copies of the child's ends.
func (p *pipes) closeChild() {
	closeAll(p.child)
	p.child = nil
}

// output reads what a command prints, to the end. After the command's tree is gone it waits for that end only as
// long as something still comes.
type output struct {
	file *os.File

	mu    sync.Mutex
	ended bool
}

// end says that the command's tree is gone; it also reaches a read that is under way. To be called once.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	_ = o.file.SetReadDeadline(time.Unix(1, 0))
}

func (o *output) Read(b []byte) (int, error) {
	for {
		ended := o.expect()
		n, err := o.file.Read(b)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if ended {
			return 0, io.EOF
		}
	}
}

func (o *output) expect() (ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		_ = o.file.SetReadDeadline(time.Now().Add(drainPause))
	}
	return o.ended
}
