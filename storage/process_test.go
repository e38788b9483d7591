package storage_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// The environment of a child process: this test binary, run again to be another worker.
const (
	workEnv   = "STORAGE_TEST_WORK"
	dirEnv    = "STORAGE_TEST_DIR"
	serverEnv = "STORAGE_TEST_SERVER" // endpoint, access key, secret key and bucket
)

// TestChild is no test but the work of a child.
func TestChild(t *testing.T) {
	work, ok := map[string]func(*testing.T, storage.Store){"count": count, "write": write, "hold": hold}[os.Getenv(workEnv)]
	if !ok {
		return
	}
	if server := strings.Fields(os.Getenv(serverEnv)); len(server) == 4 {
		s := storagetest.Server{Endpoint: server[0], AccessKey: server[1], SecretKey: server[2]}
		work(t, s.Bucket(t, server[3]))
		return
	}
	store, err := storage.NewDir(os.Getenv(dirEnv))
	if err != nil {
		t.Fatal(err)
	}
	work(t, store)
}

// count counts to 50.
func count(t *testing.T, store storage.Store) {
	for n := 0; n < 50; {
		if storagetest.Count(t, store, "counter") {
			n++
		}
	}
}

// write writes until it is killed.
func write(t *testing.T, store storage.Store) {
	for i := 0; ; i++ {
		if err := store.Put(t.Context(), "objects/big", strings.NewReader(bigObject(i))); err != nil {
			t.Fatal(err)
		}
		storagetest.Count(t, store, "counter")
		if err := store.Delete(t.Context(), "folder/of/its/own"); err != nil {
			t.Fatal(err)
		}
		if _, err := store.PutIf(t.Context(), "folder/of/its/own", nil, storage.IfAbsent); err != nil {
			t.Fatal(err)
		}
	}
}

// hold runs an attempt that says something every 100 ms, until it is killed or replaced, of which it tells.
func hold(t *testing.T, store storage.Store) {
	l := acquire(t, worker(store, "child", shortTTL), "s")
	log := ship(t, l)
	_, _ = fmt.Fprintln(os.Stdout, "held")
	for !isDone(l) {
		say(t, log, "x")
		select {
		case <-l.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err := l.Flush(t.Context()); !errors.Is(err, storage.ErrReplaced) {
		t.Errorf("Flush of a replaced worker: %v", err)
	}
	_, _ = fmt.Fprintln(os.Stdout, "replaced")
}

// process is a child whose standard output is read by lines.
type process struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func child(t *testing.T, work string, env ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(append(os.Environ(), workEnv+"="+work), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &process{cmd: cmd, out: bufio.NewReader(out)}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (p *process) wait() error {
	_, _ = io.Copy(io.Discard, p.out)
	return p.cmd.Wait()
}

func (p *process) says(t *testing.T, want string) {
	t.Helper()
	if line, err := p.out.ReadString('\n'); strings.TrimSpace(line) != want {
		t.Fatalf("the child says %q, %v; want %q", line, err, want)
	}
}

// processes runs a test on both real stores, with the environment by which children reach the same one.
func processes(t *testing.T, test func(t *testing.T, store storage.Store, env string)) {
	t.Run("dir", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		store, err := storage.NewDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		test(t, store, dirEnv+"="+dir)
	})
	t.Run("minio", func(t *testing.T) {
		t.Parallel()
		s := storagetest.MinIO(t)
		bucket := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
		test(t, s.Bucket(t, bucket), fmt.Sprintf("%s=%s %s %s %s", serverEnv, s.Endpoint, s.AccessKey, s.SecretKey, bucket))
	})
}

// takeOver waits for the lease of a child that is dead or stopped to expire. A worker frozen in the middle of a put keeps the
// object locked, on MinIO for half a minute, also for readers: so there may be attempts that could not begin.
func takeOver(t *testing.T, store storage.Store) *storage.Lease {
	t.Helper()
	var l *storage.Lease
	eventually(t, "the take-over", func() bool {
		var err error
		l, err = worker(store, "taker", shortTTL).Acquire(t.Context(), "s", true, keep)
		if err != nil && !errors.Is(err, storage.ErrBusy) && !errors.Is(err, storage.ErrUnavailable) {
			t.Error(err)
		}
		return err == nil
	})
	t.Cleanup(l.Close)
	return l
}

func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	processes(t, func(t *testing.T, store storage.Store, env string) {
		c := child(t, "hold", env)
		c.says(t, "held")
		<-time.After(3 * time.Second)
		c.signal(t, syscall.SIGKILL)
		if err := c.wait(); err == nil {
			t.Fatal("the child was not killed")
		}
		var told heard
		r := worker(store, "reader", shortTTL)
		if err := r.Follow(t.Context(), "s", event.ID{}, told.emit); err != nil {
			t.Error(err)
		}
		// About 30 events were said in those 3 s; of the last 2 s they may be lost. Half of the rest is for a busy machine.
		n := len(told.all()) - 1
		if diff := cmp.Diff(events(1, n, "1-lost worker_lost"), told.all()); diff != "" || n < 5 {
			t.Errorf("%d events stored; %s", n, diff)
		}
		l := takeOver(t, store)
		finish(t, l, ship(t, l))
		want := append(told.all(), takenBy(l)...)
		if diff := cmp.Diff(want, history(t, r, "s", event.ID{})); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWorkerFrozen(t *testing.T) {
	t.Parallel()
	processes(t, func(t *testing.T, store storage.Store, env string) {
		c := child(t, "hold", env)
		c.says(t, "held")
		<-time.After(time.Second)
		c.signal(t, syscall.SIGSTOP)
		l := takeOver(t, store)
		log := ship(t, l)
		c.signal(t, syscall.SIGCONT)
		c.says(t, "replaced")
		if err := c.wait(); err != nil {
			t.Error(err)
		}
		finish(t, l, log)
		got := history(t, worker(store, "reader", shortTTL), "s", event.ID{})
		after := append([]string{"1-lost worker_lost"}, takenBy(l)...)
		if diff := cmp.Diff(events(1, len(got)-len(after), after...), got); diff != "" {
			t.Error(diff)
		}
	})
}

// takenBy are the events from the second attempt to this one, which has said nothing but its end.
func takenBy(l *storage.Lease) []string {
	var all []string
	for attempt := 2; attempt < l.Attempt(); attempt++ {
		all = append(all, fmt.Sprintf("%d-lost worker_lost", attempt))
	}
	return append(all, fmt.Sprintf("%d-1 completed", l.Attempt()))
}
