package sandbox_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
)

var benchPolicy = sandbox.Policy{Read: []string{"/bin", "/lib", "/lib64", "/usr", "/etc"}, Write: []string{"/tmp"}, ClosedPorts: []uint16{80, 9000}}

// BenchmarkSandbox is what a worker does once, while it is idle.
func BenchmarkSandbox(b *testing.B) {
	for b.Loop() {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
			box, err := benchPolicy.Prepare()
			if err == nil {
				err = box.Enter()
			}
			done <- err
		}()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart is what a command's start takes outside of a sandbox and inside.
func BenchmarkStart(b *testing.B) {
	for _, inside := range []bool{false, true} {
		b.Run(map[bool]string{false: "outside", true: "inside"}[inside], func(b *testing.B) {
			done := make(chan error)
			go func() { done <- startMany(b, inside) }()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

func startMany(b *testing.B, inside bool) error {
	runtime.LockOSThread()
	if inside {
		box, err := benchPolicy.Prepare()
		if err != nil {
			return err
		}
		if err := box.Enter(); err != nil {
			return err
		}
	}
	for b.Loop() {
		p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Env: []string{}})
		if err != nil {
			return err
		}
		if _, err := p.Wait(); err != nil {
			return err
		}
	}
	return nil
}
