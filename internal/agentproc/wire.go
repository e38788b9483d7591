package agentproc

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
)

const (
	maxFrame   = 16 << 20 // well over what execve takes
	maxSecrets = 32
	maxFDs     = 3 + maxSecrets
)

type op string

// What the worker asks for, and what the supervisor tells.
const (
	opSpawn     op = "spawn"     // start Spawn as the command ID; answered by opStarted
	opTerminate op = "terminate" // SIGTERM to the command's process group
	opKill      op = "kill"      // SIGKILL to the command's whole tree
	opKillAll   op = "kill-all"  // the same to every command; answered by opKilledAll
	opConfine   op = "confine"   // put every later command into a Sandbox; answered by opConfined
	opReady     op = "ready"     // the supervisor is set up, or could not be (Error)
	opStarted   op = "started"   // the command runs, or could not be started (Errno)
	opExited    op = "exited"    // the command has ended with Status and its tree is gone
	opKilledAll op = "killed-all"
	opConfined  op = "confined" // or not, and then Error says why
)

// frame is one message between worker and supervisor, in either direction.
type frame struct {
	Op     op     `json:"op"`
	ID     uint64 `json:"id,omitempty"`
	Spawn  *spawn `json:"spawn,omitempty"`
	Errno  int    `json:"errno,omitempty"`
	Status uint32 `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`

	Sandbox *sandbox.Policy `json:"sandbox,omitempty"`

	fds []int // travel beside the JSON; the receiver owns them
}

// spawn is a command to start. Byte slices, because neither arguments nor paths need be UTF-8.
type spawn struct {
	Path   []byte   `json:"path"`
	Args   [][]byte `json:"args"` // with argv[0]
	Env    [][]byte `json:"env"`
	Dir    []byte   `json:"dir"`
	Helper bool     `json:"helper"`
}

// wire carries frames over a unix stream socket: four bytes of length, with which the descriptors travel, and JSON.
type wire struct {
	conn *net.UnixConn
	mu   sync.Mutex // one send at a time
}

// newWire takes over a socket's descriptor.
func newWire(fd int) (*wire, error) {
	f := os.NewFile(uintptr(fd), "agentproc")
	defer f.Close() // FileConn works on a copy
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("use the supervisor's socket: %w", err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("use the supervisor's socket: it is a %T", conn)
	}
	return &wire{conn: unixConn}, nil
}

// send writes a frame; the caller keeps and closes its own copies of f.fds. Safe for concurrent use.
func (w *wire) send(f frame) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return unix.E2BIG
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	var rights []byte
	if len(f.fds) > 0 {
		rights = unix.UnixRights(f.fds...)
	}
	if _, _, err := w.conn.WriteMsgUnix(head, rights, nil); err != nil {
		return err
	}
	_, err = w.conn.Write(body)
	return err
}

// receive reads the next frame; io.EOF when the other side is gone. For one goroutine.
func (w *wire) receive() (frame, error) {
	size, fds, err := w.head()
	if err != nil {
		closeAll(fds)
		return frame{}, err
	}
	var f frame
	body := make([]byte, size)
	if _, err := io.ReadFull(w.conn, body); err != nil {
		closeAll(fds)
		return frame{}, io.EOF
	}
	if err := json.Unmarshal(body, &f); err != nil {
		closeAll(fds)
		return frame{}, fmt.Errorf("read a frame: %w", err)
	}
	f.fds = fds
	return f, nil
}

func (w *wire) head() (size uint32, fds []int, err error) {
	head := make([]byte, 4)
	oob := make([]byte, unix.CmsgSpace(4*maxFDs))
	n, oobn, flags, _, err := w.conn.ReadMsgUnix(head, oob)
	if err == nil && n == 0 {
		return 0, nil, io.EOF
	}
	if err != nil {
		return 0, nil, err
	}
	fds, err = rights(oob[:oobn])
	if err != nil {
		return 0, fds, err
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return 0, fds, fmt.Errorf("read a frame: %w: too many descriptors", unix.EMFILE)
	}
	if _, err := io.ReadFull(w.conn, head[n:]); err != nil {
		return 0, fds, io.EOF
	}
	size = binary.BigEndian.Uint32(head)
	if size > maxFrame {
		return 0, fds, fmt.Errorf("read a frame of %d bytes: %w", size, unix.EMSGSIZE)
	}
	return size, fds, nil
}

func rights(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read a frame's descriptors: %w", err)
	}
	var fds []int
	for _, m := range messages {
		some, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fds, fmt.Errorf("read a frame's descriptors: %w", err)
		}
		fds = append(fds, some...)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
