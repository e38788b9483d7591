package orchestrator

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// patience is with storage that takes a snapshot: it ends when nothing more of the archive was taken for SaveTimeout, however
// long that takes in all. Once somebody wants the job to end it is not renewed: the push comes after the save.
type patience struct {
	after         time.Duration
	told, aborted <-chan struct{}
	timer         *time.Timer

	mu       sync.Mutex
	furthest int64 // bytes of the archive that any attempt came to
}

// patient makes a context that ends when patience does.
func (r *run) patient(parent context.Context) (context.Context, *patience, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	p := &patience{after: r.cfg.SaveTimeout, told: r.told, aborted: r.lease.Aborted()}
	p.timer = time.AfterFunc(p.after, func() { cancel(errSaveTimeout) })
	return ctx, p, func() { p.timer.Stop(); cancel(nil) }
}

// moved renews the patience.
func (p *patience) moved() {
	select {
	case <-p.told:
	case <-p.aborted:
	default:
		p.timer.Reset(p.after)
	}
}

// reached is told how far an attempt has come. What earlier ones had sent already is no progress.
func (p *patience) reached(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > p.furthest {
		p.furthest = n
		p.moved()
	}
}

// watched are objects whose archive is watched on its way.
type watched struct {
	snapshot.Objects
	patience *patience
}

// Put implements snapshot.Objects.
func (w watched) Put(ctx context.Context, name string, r io.Reader) error {
	return w.Objects.Put(ctx, name, &watchedReader{r: r, patience: w.patience})
}

type watchedReader struct {
	r        io.Reader
	patience *patience
	n        int64
}

func (w *watchedReader) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	w.n += int64(n)
	w.patience.reached(w.n)
	return n, err
}
