// Package storagetest has what tests of stores and of their users need: the contract test that every storage.Store
// passes, a store in memory that lives in a synctest bubble, a store with faults, and the real MinIO server.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// Run tests the contract of storage.Store on the stores that open returns, each of them empty.
func Run(t *testing.T, open func(t *testing.T) storage.Store) {
	for name, test := range map[string]func(*testing.T, storage.Store){
		"missing":           testMissing,
		"put and get":       testPutGet,
		"put replaces":      testPutReplaces,
		"large":             testLarge,
		"put if":            testPutIf,
		"racing creators":   testRacingCreators,
		"racing movers":     testRacingMovers,
		"counter":           testCounter,
		"failing reader":    testFailingReader,
		"blocked reader":    testBlockedReader,
		"ended context":     testEndedContext,
		"list":              testList,
		"list paging":       testListPaging,
		"folders":           testFolders,
		"delete":            testDelete,
		"age":               testAge,
		"hostile keys":      testHostileKeys,
		"reader sees whole": testReaderSeesWhole,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func testMissing(t *testing.T, s storage.Store) {
	ctx := t.Context()
	_, _, err := s.Get(ctx, "a/b")
	wantError(t, "Get", err, storage.ErrNotFound)
	_, err = s.Stat(ctx, "a/b")
	wantError(t, "Stat", err, storage.ErrNotFound)
	_, err = s.PutIf(ctx, "a/b", []byte("x"), storage.IfVersion("0123456789abcdef0123456789abcdef"))
	wantError(t, "PutIf(IfVersion)", err, storage.ErrNotFound)
	if list, err := s.List(ctx, "", "", 10); err != nil || len(list) != 0 {
		t.Errorf("List() = %v, %v", list, err)
	}
	if list, err := s.Folders(ctx, "", "", 10); err != nil || len(list) != 0 {
		t.Errorf("Folders() = %v, %v", list, err)
	}
	if err := s.Delete(ctx, "a/b", "c"); err != nil {
		t.Errorf("Delete of what is not there: %v", err)
	}
}

func testPutGet(t *testing.T, s storage.Store) {
	for _, content := range []string{"", "x", strings.Repeat("line\n", 100_000)} {
		key := fmt.Sprintf("folder/.deep/er/object-%d", len(content))
		put(t, s, key, content)
		got, info := get(t, s, key)
		if got != content {
			t.Errorf("%s: got %d bytes, want %d", key, len(got), len(content))
		}
		stat, err := s.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		info.Age = 0
		if diff := cmp.Diff(stat, info); diff != "" || stat.Key != key || stat.Size != int64(len(content)) || stat.Version == "" {
			t.Errorf("Stat() = %+v; Get differs: %s", stat, diff)
		}
	}
}

func testPutReplaces(t *testing.T, s storage.Store) {
	put(t, s, "a", "first, and longer")
	_, first := get(t, s, "a")
	put(t, s, "a", "second")
	got, second := get(t, s, "a")
	if got != "second" || first.Version == second.Version {
		t.Errorf("got %q, versions %s and %s", got, first.Version, second.Version)
	}
}

// testLarge is over every limit at which a store might change its ways, and ends in the middle of a part.
func testLarge(t *testing.T, s storage.Store) {
	const size = 37<<20 + 11
	err := s.Put(t.Context(), "large", io.LimitReader(&pattern{}, size))
	if err != nil {
		t.Fatal(err)
	}
	r, info, err := s.Get(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if info.Size != size {
		t.Errorf("size %d, want %d", info.Size, size)
	}
	compare(t, r, io.LimitReader(&pattern{}, size))
}

// pattern yields bytes without end: the same ones however they are read, and other ones at the start of each part.
type pattern struct{ offset int }

const period = 251 // prime, so that no part begins where another one does

var periods = bytes.Repeat(fmt.Appendf(nil, "%*d", period, 7), 300)

func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, periods[p.offset:])
	p.offset = (p.offset + n) % period
	return n, nil
}

func compare(t *testing.T, got, want io.Reader) {
	t.Helper()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, errGot := io.ReadFull(got, a)
		m, errWant := io.ReadFull(want, b)
		if n != m || !bytes.Equal(a[:n], b[:m]) || !errors.Is(errGot, errWant) {
			t.Fatalf("content differs: %d and %d bytes, %v and %v", n, m, errGot, errWant)
		}
		if errWant != nil {
			return
		}
	}
}

func testPutIf(t *testing.T, s storage.Store) {
	ctx := t.Context()
	v1, err := s.PutIf(ctx, "k/x", []byte("1"), storage.IfAbsent)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.PutIf(ctx, "k/x", []byte("2"), storage.IfAbsent)
	wantError(t, "IfAbsent on an object", err, storage.ErrConflict)
	v2, err := s.PutIf(ctx, "k/x", []byte("2"), storage.IfVersion(v1))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.PutIf(ctx, "k/x", []byte("3"), storage.IfVersion(v1))
	wantError(t, "IfVersion of an older one", err, storage.ErrConflict)
	got, info := get(t, s, "k/x")
	if got != "2" || info.Version != v2 || v1 == v2 {
		t.Errorf("got %q, version %s, want 2 and %s (before: %s)", got, info.Version, v2, v1)
	}
	if err := s.Delete(ctx, "k/x"); err != nil {
		t.Fatal(err)
	}
	_, err = s.PutIf(ctx, "k/x", []byte("3"), storage.IfVersion(v2))
	wantError(t, "IfVersion of a deleted one", err, storage.ErrNotFound)
}

func testFailingReader(t *testing.T, s storage.Store) {
	broken := errors.New("broken archive")
	for _, size := range []int64{0, 100, 20 << 20} {
		r := io.MultiReader(io.LimitReader(&pattern{}, size), iotest.ErrReader(broken))
		err := s.Put(t.Context(), "f/never", r)
		wantError(t, "Put", err, broken)
		if errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("Put blames the store: %v", err)
		}
	}
	_, err := s.Stat(t.Context(), "f/never")
	wantError(t, "Stat", err, storage.ErrNotFound)
}

func testBlockedReader(t *testing.T, s storage.Store) {
	gone := errors.New("gone")
	for _, size := range []int64{0, 20 << 20} {
		ctx, cancel := context.WithCancelCause(t.Context())
		r, w := io.Pipe()
		result := make(chan error, 1)
		go func() { result <- s.Put(ctx, "b/never", r) }()
		if _, err := io.Copy(w, io.LimitReader(&pattern{}, size)); err != nil {
			t.Fatal(err)
		}
		cancel(gone)
		select {
		case err := <-result:
			wantError(t, "Put", err, gone)
		case <-time.After(20 * time.Second):
			t.Fatal("Put still waits for its blocked reader")
		}
	}
	_, err := s.Stat(t.Context(), "b/never")
	wantError(t, "Stat", err, storage.ErrNotFound)
}

func testEndedContext(t *testing.T, s storage.Store) {
	put(t, s, "e", "content")
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	_, _, getErr := s.Get(ctx, "e")
	_, putIfErr := s.PutIf(ctx, "f", nil, storage.IfAbsent)
	_, listErr := s.List(ctx, "", "", 1)
	_, foldersErr := s.Folders(ctx, "", "", 1)
	_, statErr := s.Stat(ctx, "e")
	for name, err := range map[string]error{
		"Get": getErr, "PutIf": putIfErr, "List": listErr, "Folders": foldersErr, "Stat": statErr,
		"Put": s.Put(ctx, "f", strings.NewReader("x")), "Delete": s.Delete(ctx, "e"),
	} {
		wantError(t, name, err, gone)
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	put(t, s, "big", strings.Repeat("x", 8<<20))
	r, _, err := s.Get(ctx, "big")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel(gone)
	_, err = io.Copy(io.Discard, r)
	wantError(t, "Read", err, gone)
}

func testAge(t *testing.T, s storage.Store) {
	put(t, s, "aging", "x")
	_, info := get(t, s, "aging")
	if info.Age > 2*time.Second {
		t.Errorf("just put, and %v old", info.Age)
	}
	deadline := time.Now().Add(20 * time.Second)
	for info.Age < 2*time.Second {
		if time.Now().After(deadline) {
			t.Fatalf("the age stays at %v", info.Age)
		}
		<-time.After(50 * time.Millisecond)
		_, info = get(t, s, "aging")
	}
	put(t, s, "aging", "y")
	if _, info = get(t, s, "aging"); info.Age >= 2*time.Second {
		t.Errorf("put anew, and %v old", info.Age)
	}
}

// testReaderSeesWhole reads while others replace: each content is seen whole.
func testReaderSeesWhole(t *testing.T, s storage.Store) {
	contents := []string{strings.Repeat("a", 300_000), strings.Repeat("b", 200_000)}
	put(t, s, "w", contents[0])
	var done sync.WaitGroup
	done.Go(func() {
		for i := range 20 {
			put(t, s, "w", contents[i%2])
		}
	})
	for range 40 {
		if got, _ := get(t, s, "w"); got != contents[0] && got != contents[1] {
			t.Fatalf("read a mixture of %d bytes", len(got))
		}
	}
	done.Wait()
}

func put(t testing.TB, s storage.Store, key, content string) {
	t.Helper()
	if err := s.Put(t.Context(), key, strings.NewReader(content)); err != nil {
		t.Error(err)
	}
}

func get(t testing.TB, s storage.Store, key string) (string, storage.Info) {
	t.Helper()
	r, info, err := s.Get(t.Context(), key)
	if err != nil {
		t.Error(err)
		return "", info
	}
	defer func() { _ = r.Close() }()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(content), info
}

func wantError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}
