package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

func TestListTellsWhatIsSaved(t *testing.T) {
	t.Parallel()
	agent, from, store := agenttest.Start(t), agenttest.Dir(t), &objects{}
	run(t, agent, "grow", from)
	want := described(t, agent, from)
	delete(want, `"/home/.profile"`)
	ref, _, err := snapshot.Tar{}.Save(t.Context(), agent, from, include, store)
	if err != nil {
		t.Fatal(err)
	}
	err = snapshot.Tar{}.List(t.Context(), throughJSON(t, ref), store, func(e snapshot.Entry) error {
		name := fmt.Sprintf("%q", "/"+e.Path)
		told := e.Mode.String() + " " + e.Modified.UTC().Format(time.RFC3339Nano)
		switch {
		case e.Mode&fs.ModeSymlink != 0:
			told += fmt.Sprintf(" -> %q", e.Target)
		case e.Mode.IsRegular() && e.Target == "":
			told += fmt.Sprintf(" %d bytes", e.Size)
		default: // a directory, or one more name of a file, whose mode changes while describe looks at its first one
			if e.Target != "" && strings.HasSuffix(want[name], fmt.Sprintf(" as %q", "/"+e.Target)) {
				told = ""
			}
		}
		if !strings.HasPrefix(want[name], told) {
			t.Errorf("%s: told as %q, is %q", name, told, want[name])
		}
		delete(want, name)
		return nil
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%v; not told: %v", err, want)
	}
}

func TestListRefusesWhatIsNoSnapshot(t *testing.T) {
	good := archive(t, dir("a"), reg("a/b"))
	ref := snapshot.Ref{Format: snapshot.Format, Objects: []string{"o"}, Files: 1, Bytes: 7}
	for name, data := range map[string][]byte{
		"no archive":     []byte("hello"),
		"cut":            good[:len(good)-5],
		"no end":         archiveWith(t, "", dir("a"), reg("a/b")),
		"wrong end":      archiveWith(t, "3", dir("a"), reg("a/b")),
		"a path outside": archive(t, reg("../escaped")),
	} {
		store := &objects{kept: map[string][]byte{"o": data}}
		err := snapshot.Tar{}.List(t.Context(), ref, store, func(e snapshot.Entry) error {
			if strings.Contains(e.Path, "..") {
				t.Errorf("%s: told %q", name, e.Path)
			}
			return nil
		})
		if !errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := archive(t, reg("a"), reg("b"), reg("c"))
	err := snapshot.Tar{MaxEntries: 2}.List(t.Context(), ref, &objects{kept: map[string][]byte{"o": many}}, func(snapshot.Entry) error { return nil })
	if !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("over the limit: %v", err)
	}
	if err := (snapshot.Tar{}).List(t.Context(), snapshot.Ref{Format: "other"}, &objects{}, nil); err == nil {
		t.Error("an unknown format is listed")
	}
}

// hanging is a store whose object has a good beginning and then nothing, until ctx ends.
type hanging struct{ data []byte }

func (e hanging) Get(ctx context.Context, _ string) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(string(e.data)), readerFunc(func([]byte) (int, error) {
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}))), nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestListEndsWithItsCaller(t *testing.T) {
	good := archive(t, dir("a"), reg("a/b"))
	ref := snapshot.Ref{Format: snapshot.Format, Objects: []string{"o"}, Files: 1, Bytes: 7}
	enough := errors.New("enough")
	err := snapshot.Tar{}.List(t.Context(), ref, &objects{kept: map[string][]byte{"o": good}}, func(snapshot.Entry) error { return enough })
	if !errors.Is(err, enough) || errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("refused by emit: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	err = snapshot.Tar{}.List(ctx, ref, hanging{good[:10]}, func(snapshot.Entry) error { return nil })
	if !errors.Is(err, enough) || errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("cancelled: %v", err)
	}
	broken := failingGet{errors.New("the store is away")}
	if err := (snapshot.Tar{}).List(t.Context(), ref, broken, nil); !errors.Is(err, broken.err) {
		t.Errorf("store away: %v", err)
	}
}

type failingGet struct{ err error }

func (f failingGet) Get(context.Context, string) (io.ReadCloser, error) { return nil, f.err }
