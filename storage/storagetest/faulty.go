package storagetest

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// Faulty is a Store whose faults are ordered by the test. Without orders it is the store below.
type Faulty struct {
	storage.Store
	asking sync.Mutex // held while a fault is asked
	mu     sync.Mutex
	fault  Fault
}

// Fault says what happens to a request; each that is about to be made is asked about, one at a time.
type Fault func(op Op) Outcome

// Op is one request.
type Op struct {
	Name string // "Get", "Put", "PutIf", "List", "Folders", "Stat" or "Delete"
	Key  string // or the prefix of a listing, or the first key of a deletion
}

// Outcome is what becomes of a request.
type Outcome int

// The outcomes.
const (
	Served   Outcome = iota
	Away             // not served: storage.ErrUnavailable
	LostLate         // served, but the answer is lost: storage.ErrUnavailable
	Hanging          // not served, and no answer until the request's context ends
)

// NewFaulty wraps a store.
func NewFaulty(s storage.Store) *Faulty { return &Faulty{Store: s} }

// Set orders faults from now on; nil is none.
func (f *Faulty) Set(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// AllAway is a Fault that cuts the store off.
func AllAway(Op) Outcome { return Away }

// AllHanging is a Fault of a store that takes requests and never answers.
func AllHanging(Op) Outcome { return Hanging }

// LoseAnswers is a Fault that loses the answers of the next n requests of this name to keys that contain key.
func LoseAnswers(n int, name, key string) Fault {
	return func(op Op) Outcome {
		if n == 0 || op.Name != name || !strings.Contains(op.Key, key) {
			return Served
		}
		n--
		return LostLate
	}
}

// meet asks for the outcome. before is the error of a request that is not served, after of one that has been.
func (f *Faulty) meet(ctx context.Context, name, key string) (before, after error) {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil, nil
	}
	gone := fmt.Errorf("%s %s: %w", name, key, storage.ErrUnavailable)
	f.asking.Lock()
	outcome := fault(Op{name, key})
	f.asking.Unlock()
	switch outcome {
	case Away:
		return gone, nil
	case LostLate:
		return nil, gone
	case Hanging:
		<-ctx.Done()
		return context.Cause(ctx), nil
	case Served:
	}
	return nil, nil
}

// Get implements storage.Store.
func (f *Faulty) Get(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	before, after := f.meet(ctx, "Get", key)
	if before != nil || after != nil {
		return nil, storage.Info{}, first(before, after)
	}
	return f.Store.Get(ctx, key)
}

// Put implements storage.Store.
func (f *Faulty) Put(ctx context.Context, key string, r io.Reader) error {
	before, after := f.meet(ctx, "Put", key)
	if before != nil {
		return before
	}
	return first(f.Store.Put(ctx, key, r), after)
}

// PutIf implements storage.Store.
func (f *Faulty) PutIf(ctx context.Context, key string, data []byte, cond storage.Condition) (string, error) {
	before, after := f.meet(ctx, "PutIf", key)
	if before != nil {
		return "", before
	}
	version, err := f.Store.PutIf(ctx, key, data, cond)
	return version, first(after, err)
}

// List implements storage.Store.
func (f *Faulty) List(ctx context.Context, prefix, after string, limit int) ([]storage.Info, error) {
	if before, late := f.meet(ctx, "List", prefix); before != nil || late != nil {
		return nil, first(before, late)
	}
	return f.Store.List(ctx, prefix, after, limit)
}

// Folders implements storage.Store.
func (f *Faulty) Folders(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if before, late := f.meet(ctx, "Folders", prefix); before != nil || late != nil {
		return nil, first(before, late)
	}
	return f.Store.Folders(ctx, prefix, after, limit)
}

// Stat implements storage.Store.
func (f *Faulty) Stat(ctx context.Context, key string) (storage.Info, error) {
	if before, late := f.meet(ctx, "Stat", key); before != nil || late != nil {
		return storage.Info{}, first(before, late)
	}
	return f.Store.Stat(ctx, key)
}

// Delete implements storage.Store.
func (f *Faulty) Delete(ctx context.Context, keys ...string) error {
	before, after := f.meet(ctx, "Delete", strings.Join(keys[:min(1, len(keys))], ""))
	if before != nil {
		return before
	}
	return first(f.Store.Delete(ctx, keys...), after)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
