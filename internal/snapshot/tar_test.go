package snapshot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// The tests' own helpers make and describe workspaces as the agent, which alone can enter them.
func TestMain(m *testing.M) {
	agentproc.Dispatch(append(snapshot.Helpers(),
		agentproc.Helper{Name: "grow", Run: func(args []string, _ io.Reader, _ io.Writer) error { return grow(args[0]) }},
		agentproc.Helper{Name: "noise", Run: func(args []string, _ io.Reader, _ io.Writer) error { return makeNoise(args[0]) }},
		agentproc.Helper{Name: "checkout", Run: func(args []string, _ io.Reader, _ io.Writer) error { return makeCheckout(args[0]) }},
		agentproc.Helper{Name: "describe", Run: func(args []string, _ io.Reader, stdout io.Writer) error {
			lines, err := describe(args[0])
			if err != nil {
				return err
			}
			return json.NewEncoder(stdout).Encode(lines)
		}},
	)...)
	os.Exit(m.Run())
}

func described(t *testing.T, agent *agentproc.Agent, dir string) map[string]string {
	t.Helper()
	out, err := agent.Helper("describe", dir).Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines map[string]string
	if err := json.Unmarshal(out, &lines); err != nil {
		t.Fatal(err)
	}
	return lines
}

func run(t testing.TB, agent *agentproc.Agent, helper, dir string) {
	t.Helper()
	if err := agent.Helper(helper, dir).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// objects keeps objects in memory; a Put whose reader fails leaves none, as Objects asks.
type objects struct {
	mu   sync.Mutex
	kept map[string][]byte
}

func (o *objects) Put(_ context.Context, name string, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kept == nil {
		o.kept = map[string][]byte{}
	}
	o.kept[name] = data
	return nil
}

func (o *objects) Get(_ context.Context, name string) (io.ReadCloser, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	data, ok := o.kept[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (o *objects) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.kept)
}

var include = []string{"checkout", "home/.claude/projects", "home/missing"}

func TestSaveAndRestoreKeepEverything(t *testing.T) {
	t.Parallel()
	agent, from, to := agenttest.Start(t), agenttest.Dir(t), agenttest.Dir(t)
	run(t, agent, "grow", from)
	want := described(t, agent, from)
	store := &objects{}
	ref, report, err := snapshot.Tar{}.Save(t.Context(), agent, from, include, store)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Skipped) != 0 {
		t.Errorf("skipped %q", report.Skipped)
	}
	if ref.Format != snapshot.Format || ref.Files != report.Files || ref.Bytes != report.Bytes || len(ref.Objects) != store.count() {
		t.Errorf("reference %+v, report %+v, %d objects", ref, report, store.count())
	}
	if diff := cmp.Diff(want, described(t, agent, from)); diff != "" {
		t.Errorf("saving changed the workspace (-before +after):\n%s", diff)
	}

	if err := (snapshot.Tar{}).Restore(t.Context(), agent, to, throughJSON(t, ref), store); err != nil {
		t.Fatal(err)
	}
	delete(want, `"/home/.profile"`)
	got := described(t, agent, to)
	// The directory that was only passed through is there, and its time is the original's too.
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	if len(got) < 120 {
		t.Errorf("only %d entries: the workspace was not what this test means", len(got))
	}
}

// throughJSON does to a reference what the session's metadata do.
func throughJSON(t *testing.T, ref snapshot.Ref) snapshot.Ref {
	t.Helper()
	data, err := json.Marshal(ref)
	if err != nil {
		t.Fatal(err)
	}
	var back snapshot.Ref
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func TestSaveOfAnEmptyWorkspace(t *testing.T) {
	t.Parallel()
	agent, store := agenttest.Start(t), &objects{}
	ref, _, err := snapshot.Tar{}.Save(t.Context(), agent, agenttest.Dir(t), include, store)
	if err != nil {
		t.Fatal(err)
	}
	to := agenttest.Dir(t)
	if err := (snapshot.Tar{}).Restore(t.Context(), agent, to, ref, store); err != nil {
		t.Fatal(err)
	}
	if got := described(t, agent, to); len(got) != 0 {
		t.Errorf("restored %v", got)
	}
}

// The clone may have made folders before; the snapshot fills them.
func TestRestoreIntoFoldersThatExist(t *testing.T) {
	t.Parallel()
	agent, from, to, store := agenttest.Start(t), agenttest.Dir(t), agenttest.Dir(t), &objects{}
	run(t, agent, "grow", from)
	ref, _, err := snapshot.Tar{}.Save(t.Context(), agent, from, include, store)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"checkout", "home"} {
		if err := agent.MkdirAll(t.Context(), filepath.Join(to, dir)); err != nil {
			t.Fatal(err)
		}
	}
	if err := (snapshot.Tar{}).Restore(t.Context(), agent, to, ref, store); err != nil {
		t.Error(err)
	}
}

func TestSaveRefusesPathsOutside(t *testing.T) {
	t.Parallel()
	agent, dir := agenttest.Start(t), agenttest.Dir(t)
	for _, path := range []string{"", ".", "..", "../other", "/etc", "a/../.."} {
		if _, _, err := (snapshot.Tar{}).Save(t.Context(), agent, dir, []string{path}, &objects{}); err == nil {
			t.Errorf("%q was accepted", path)
		}
	}
}

// failing is a store that breaks while it reads or is read.
type failing struct {
	objects
	err   error
	after int64
}

func (f *failing) Put(_ context.Context, _ string, r io.Reader) error {
	if _, err := io.CopyN(io.Discard, r, f.after); err != nil {
		return err
	}
	return f.err
}

func (f *failing) Get(context.Context, string) (io.ReadCloser, error) {
	data := f.kept["workspace.tar.zst"]
	return io.NopCloser(io.MultiReader(bytes.NewReader(data[:f.after]), brokenReader{f.err})), nil
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func TestStoreFailures(t *testing.T) {
	t.Parallel()
	away := errors.New("storage is away")
	agent, dir, good := agenttest.Start(t), agenttest.Dir(t), &objects{}
	run(t, agent, "noise", dir)
	ref, _, err := snapshot.Tar{}.Save(t.Context(), agent, dir, include, good)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("put fails", func(t *testing.T) {
		_, _, err := snapshot.Tar{}.Save(t.Context(), agent, dir, include, &failing{err: away, after: 1000})
		if !errors.Is(err, away) {
			t.Errorf("error %v, want %v", err, away)
		}
	})
	t.Run("put stops early without an error", func(t *testing.T) {
		if _, _, err := (snapshot.Tar{}).Save(t.Context(), agent, dir, include, &failing{after: 1000}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("get fails", func(t *testing.T) {
		err := snapshot.Tar{}.Restore(t.Context(), agent, agenttest.Dir(t), ref, &objects{})
		if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("error %v, want the store's", err)
		}
	})
	t.Run("reading fails in the middle", func(t *testing.T) {
		broken := &failing{err: away, after: 100_000}
		broken.kept = good.kept
		err := snapshot.Tar{}.Restore(t.Context(), agent, agenttest.Dir(t), ref, broken)
		if !errors.Is(err, away) || errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("error %v, want %v", err, away)
		}
	})
}

func TestRestoreOfADamagedSnapshot(t *testing.T) {
	t.Parallel()
	agent, dir, store := agenttest.Start(t), agenttest.Dir(t), &objects{}
	run(t, agent, "noise", dir)
	ref, _, err := snapshot.Tar{}.Save(t.Context(), agent, dir, include, store)
	if err != nil {
		t.Fatal(err)
	}
	name := ref.Objects[0]
	good := store.kept[name]
	other := ref
	other.Files++
	fewer := ref
	fewer.Bytes--
	none := ref
	none.Objects = nil
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 4
	cases := map[string]struct {
		data []byte
		ref  snapshot.Ref
	}{
		"half":               {good[:len(good)/2], ref},
		"nothing":            {nil, ref},
		"a flipped bit":      {flipped, ref},
		"hostile":            {archive(t, dirHeader, symlink("checkout/a", ".."), reg("checkout/a/escaped")), ref},
		"another count":      {good, other},
		"more than was told": {good, fewer},
		"no object":          {good, none},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			store := &objects{kept: map[string][]byte{name: c.data}}
			err := snapshot.Tar{}.Restore(t.Context(), agent, agenttest.Dir(t), c.ref, store)
			if !errors.Is(err, snapshot.ErrCorrupt) {
				t.Errorf("error %v, want ErrCorrupt", err)
			}
		})
	}
}

var dirHeader = dir("checkout")

// A snapshot of a later version is not corrupt: another worker can restore it.
func TestRestoreOfAnUnknownFormat(t *testing.T) {
	t.Parallel()
	ref := snapshot.Ref{Format: "packs", Objects: []string{"a", "b"}}
	err := snapshot.Tar{}.Restore(t.Context(), agenttest.Start(t), agenttest.Dir(t), ref, &objects{})
	if err == nil || errors.Is(err, snapshot.ErrCorrupt) || !strings.Contains(err.Error(), "packs") {
		t.Errorf("error %v", err)
	}
}

// stuck is a store that says when it has been reached, and then does nothing until ctx ends.
type stuck struct{ reached chan struct{} }

func (s stuck) Put(ctx context.Context, _ string, r io.Reader) error {
	if _, err := io.CopyN(io.Discard, r, 1); err != nil {
		return err
	}
	close(s.reached)
	<-ctx.Done()
	return ctx.Err()
}

func (s stuck) Get(ctx context.Context, _ string) (io.ReadCloser, error) {
	return io.NopCloser(readFunc(func([]byte) (int, error) {
		close(s.reached)
		<-ctx.Done()
		return 0, ctx.Err()
	})), nil
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestCancel(t *testing.T) {
	t.Parallel()
	agent, dir := agenttest.Start(t), agenttest.Dir(t)
	run(t, agent, "noise", dir)
	aborted := errors.New("aborted")
	calls := map[string]func(context.Context, stuck) error{
		"save": func(ctx context.Context, s stuck) error {
			_, _, err := snapshot.Tar{}.Save(ctx, agent, dir, include, s)
			return err
		},
		"restore": func(ctx context.Context, s stuck) error {
			ref := snapshot.Ref{Format: snapshot.Format, Objects: []string{"x"}}
			return snapshot.Tar{}.Restore(ctx, agent, agenttest.Dir(t), ref, s)
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			s := stuck{make(chan struct{})}
			cancelled := make(chan time.Time, 1)
			go func() {
				<-s.reached
				cancelled <- time.Now()
				cancel(aborted)
			}()
			if err := call(ctx, s); !errors.Is(err, aborted) {
				t.Errorf("error %v, want the cause", err)
			}
			if took := time.Since(<-cancelled); took > 5*time.Second {
				t.Errorf("returned %v after the cancel", took)
			}
		})
	}
}

// A child that dies must not leave an object that looks whole.
func TestSaveWhenTheChildIsKilled(t *testing.T) {
	t.Parallel()
	agent, dir := agenttest.Start(t), agenttest.Dir(t)
	run(t, agent, "noise", dir)
	store := &killer{kill: func() error { return agent.KillAll(t.Context()) }}
	if _, _, err := (snapshot.Tar{}).Save(t.Context(), agent, dir, include, store); err == nil {
		t.Error("no error")
	}
	if store.count() != 0 {
		t.Error("an object was stored")
	}
}

// killer kills before it reads on.
type killer struct {
	objects
	kill func() error
}

func (k *killer) Put(ctx context.Context, name string, r io.Reader) error {
	if _, err := io.CopyN(io.Discard, r, 1); err != nil {
		return err
	}
	if err := k.kill(); err != nil {
		return err
	}
	return k.objects.Put(ctx, name, r)
}

// makeNoise fills a checkout with 8 MiB that do not compress: more than all buffers between the child and a store.
func makeNoise(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "checkout"), 0o700); err != nil {
		return err
	}
	for i := range 8 {
		if err := os.WriteFile(filepath.Join(dir, "checkout", fmt.Sprint(i)), noise(uint64(i), 1<<20), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func noise(seed uint64, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		seed = seed*6364136223846793005 + 1442695040888963407
		data[i] = byte(seed >> 56)
	}
	return data
}
