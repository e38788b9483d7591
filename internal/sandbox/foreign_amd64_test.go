package sandbox_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
)

// exit7 is a whole 32-bit program: mov eax, 1; mov ebx, 7; int 0x80.
var exit7 = []byte("\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x03\x00\x01\x00\x00\x00" + // an executable for the 386
	"\x54\x80\x04\x08\x34\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x34\x00\x20\x00\x01\x00\x00\x00\x00\x00\x00\x00" +
	"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x80\x04\x08\x00\x80\x04\x08\x60\x00\x00\x00\x60\x00\x00\x00\x05\x00\x00\x00\x00\x10\x00\x00" +
	"\xb8\x01\x00\x00\x00\xbb\x07\x00\x00\x00\xcd\x80")

// TestForeignPrograms are ended, as their calls have other numbers. Where the kernel does not run them, nothing is to be ended.
func TestForeignPrograms(t *testing.T) {
	s := newSetting(t)
	program := filepath.Join(s.target.InsideFolder, "exit7")
	if err := os.WriteFile(program, exit7, 0o755); err != nil {
		t.Fatal(err)
	}
	control, got := status(t, s.command(t, program)), status(t, s.command(t, s.boxed(t, program)...))
	foreign := control.Exited() && control.ExitStatus() == 7
	ended := got.Signaled() && got.Signal() == syscall.SIGSYS
	if want := foreign && !slices.Contains(sandbox.Missing(), sandbox.Syscalls); ended != want {
		t.Errorf("outside %v, inside %v: ended %t, want %t", control, got, ended, want)
	}
	t.Logf("outside %v, inside %v", control, got)
}

// status is how a command ended; that of one that could not be started says nothing.
func status(t *testing.T, cmd *exec.Cmd) (none syscall.WaitStatus) {
	t.Helper()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return none
	}
	return cmd.ProcessState.Sys().(syscall.WaitStatus)
}
