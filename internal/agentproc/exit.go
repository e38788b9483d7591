package agentproc

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// maxStderr is how much of the end of a command's standard error is kept.
const maxStderr = 64 << 10

// maxReason is how much of it an error's text shows.
const maxReason = 500

// ExitError says that a command ended otherwise than with status 0.
type ExitError struct {
	Name   string         // the command, without its folder
	Code   int            // the exit status; -1 if a signal ended it
	Signal syscall.Signal // that signal, else 0
	Stderr string         // the end of its standard error, scrubbed, at most 64 KiB

	OutOfMemory bool // the kernel killed it, or a part of it, because memory ran out
}

// Is makes errors.Is(err, ErrOutOfMemory) true for a command that died of it.
func (e *ExitError) Is(target error) bool { return target == ErrOutOfMemory && e.OutOfMemory }

// Error names the command and its status, and quotes the last line of its standard error.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("%s: exit status %d", e.Name, e.Code)
	if e.Signal > 0 {
		text = fmt.Sprintf("%s: signal: %v", e.Name, e.Signal)
	}
	if e.OutOfMemory {
		return text + ": the kernel ended it because the worker's memory ran out; give the worker more, or let the agent do less at once"
	}
	said := strings.TrimSpace(e.Stderr)
	if reason := strings.TrimSpace(said[strings.LastIndexAny(said, "\r\n")+1:]); reason != "" { // \r: git's progress
		text += ": " + strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	}
	return text
}

func exitError(name string, status syscall.WaitStatus, outOfMemory bool, stderr string) error {
	e := &ExitError{Name: name, Code: status.ExitStatus(), Stderr: stderr, OutOfMemory: outOfMemory}
	switch {
	case status.Signaled():
		e.Signal = status.Signal() // and ExitStatus is -1
	case e.Code == 0:
		return nil
	}
	return e
}

// readTail reads r to its end and returns what came last, scrubbed. If it had to leave something out it begins with
// a whole line where there is one.
func readTail(r io.Reader, s *secret.Scrubber) string {
	t := &tail{}
	scrubbed := s.Writer(t)
	_, _ = io.Copy(scrubbed, r) // a broken pipe of a dead child: what came is what there is
	_ = scrubbed.Close()
	return t.text()
}

// tail keeps the last maxStderr bytes written to it, and up to as many more.
type tail struct {
	kept []byte
	cut  bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*maxStderr {
		t.shorten()
	}
	return len(p), nil
}

func (t *tail) shorten() {
	over := len(t.kept) - maxStderr
	if over <= 0 {
		return
	}
	t.kept = append([]byte(nil), t.kept[over:]...)
	t.cut = true
}

func (t *tail) text() string {
	t.shorten()
	kept := t.kept
	if t.cut {
		if nl := bytes.IndexByte(kept, '\n'); nl >= 0 && nl < len(kept)-1 {
			kept = kept[nl+1:]
		}
	}
	return strings.ToValidUTF8(string(kept), "?")
}
