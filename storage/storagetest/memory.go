package storagetest

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// Memory is a Store in memory. Its clock is time.Now, so that in a synctest bubble its objects age by the bubble's time.
type Memory struct {
	mu      sync.Mutex
	moves   int
	objects map[string]memoryObject
}

type memoryObject struct {
	data    []byte
	version string
	put     time.Time
}

// NewMemory makes an empty one.
func NewMemory() *Memory { return &Memory{objects: make(map[string]memoryObject)} }

func (o memoryObject) info(key string) storage.Info {
	return storage.Info{Key: key, Size: int64(len(o.data)), Version: o.version}
}

// Get implements storage.Store.
func (m *Memory) Get(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	object, err := m.find(ctx, key)
	if err != nil {
		return nil, storage.Info{}, err
	}
	info := object.info(key)
	info.Age = time.Since(object.put)
	return io.NopCloser(endingReader{ctx, bytes.NewReader(object.data)}), info, nil
}

// Stat implements storage.Store.
func (m *Memory) Stat(ctx context.Context, key string) (storage.Info, error) {
	object, err := m.find(ctx, key)
	if err != nil {
		return storage.Info{}, err
	}
	return object.info(key), nil
}

func (m *Memory) find(ctx context.Context, key string) (memoryObject, error) {
	if err := check(ctx, key); err != nil {
		return memoryObject{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	object, ok := m.objects[key]
	if !ok {
		return memoryObject{}, storage.ErrNotFound
	}
	return object, nil
}

// Put implements storage.Store.
func (m *Memory) Put(ctx context.Context, key string, r io.Reader) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	if closer, ok := r.(interface{ CloseWithError(error) error }); ok {
		defer context.AfterFunc(ctx, func() { _ = closer.CloseWithError(context.Cause(ctx)) })()
	}
	data, err := io.ReadAll(endingReader{ctx, r})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, data)
	return nil
}

// PutIf implements storage.Store.
func (m *Memory) PutIf(ctx context.Context, key string, data []byte, cond storage.Condition) (string, error) {
	if err := check(ctx, key); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	object, exists := m.objects[key]
	switch {
	case !exists && cond != storage.IfAbsent:
		return "", storage.ErrNotFound
	case string(cond) != object.version:
		return "", storage.ErrConflict
	}
	return m.put(key, slices.Clone(data)), nil
}

func (m *Memory) put(key string, data []byte) string {
	m.moves++
	version := strconv.Itoa(m.moves)
	m.objects[key] = memoryObject{data: data, version: version, put: time.Now()}
	return version
}

// List implements storage.Store.
func (m *Memory) List(ctx context.Context, prefix, after string, limit int) ([]storage.Info, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []storage.Info
	for key, object := range m.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			found = append(found, object.info(key))
		}
	}
	slices.SortFunc(found, func(a, b storage.Info) int { return strings.Compare(a.Key, b.Key) })
	return found[:min(limit, len(found))], nil
}

// Folders implements storage.Store.
func (m *Memory) Folders(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []string
	for key := range m.objects {
		name, _, ok := strings.Cut(key, "/")
		if ok && strings.HasPrefix(key, prefix) && name+"/" > after {
			found = append(found, name+"/")
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	return found[:min(limit, len(found))], nil
}

// Delete implements storage.Store.
func (m *Memory) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := check(ctx, key); err != nil {
			return err
		}
		m.mu.Lock()
		delete(m.objects, key)
		m.mu.Unlock()
	}
	return nil
}

func check(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return storage.CheckKey(key)
}

type endingReader struct {
	ctx context.Context
	r   io.Reader
}

func (r endingReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
