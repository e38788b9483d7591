package storage_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

func TestMinIOBucketIsMadeByManyAtOnce(t *testing.T) {
	t.Parallel()
	server := storagetest.MinIO(t)
	bucket := "race-" + strings.ToLower(rand.Text())
	var race sync.WaitGroup
	for i := range 20 {
		race.Go(func() {
			store := server.Bucket(t, bucket)
			key, size := fmt.Sprint("object-", i), int64(1)
			if i%4 == 0 {
				size = 2 << 20 // too large for one request
			}
			if err := store.Put(t.Context(), key, io.LimitReader(zeros{}, size)); err != nil {
				t.Error(err)
			}
			if info, err := store.Stat(t.Context(), key); err != nil || info.Size != size {
				t.Error(info, err)
			}
		})
	}
	race.Wait()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestMinIORestarts has a job go on over a restart of the server, and a reader elsewhere.
func TestMinIORestarts(t *testing.T) {
	t.Parallel()
	server := storagetest.StartMinIO(t)
	a, r := worker(server.Bucket(t, "sessions"), "a", 8*time.Second), worker(server.Bucket(t, "sessions"), "r", 8*time.Second)
	l := acquire(t, a, "s")
	log := ship(t, l)
	say(t, log, "before")
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var h heard
	followed := make(chan error, 1)
	go func() { followed <- r.Follow(t.Context(), "s", event.ID{}, h.emit) }()
	eventually(t, "the first event", func() bool { return len(h.all()) == 1 })

	server.Stop(t)
	say(t, log, "meanwhile")
	began := time.Now()
	wantError(t, "Ping", a.Ping(t.Context()), storage.ErrUnavailable)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a server that is down takes %v to tell", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := l.Update(ctx, func(m *storage.Metadata) { m.SessionName = "n" })
	wantError(t, "Update", err, storage.ErrUnavailable)
	wantError(t, "Update", err, context.DeadlineExceeded)
	server.Start(t)

	say(t, log, "after")
	finish(t, l, log)
	if err := <-followed; err != nil {
		t.Error(err)
	}
	want := "1-1 message 1-2 message 1-3 message 1-4 completed"
	if got := strings.Join(h.all(), " "); got != want {
		t.Errorf("heard %s", got)
	}
}

func openMinIO(t *testing.T, endpoint, key string) *storage.MinIO {
	t.Helper()
	store, err := storage.NewMinIO(storage.MinIOConfig{
		Endpoint: endpoint, AccessKey: secret.New(key), SecretKey: secret.New("canary-" + rand.Text()), Bucket: "bucket", Region: "us-east-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestMinIORefuses: a wrong key is no outage, for which somebody would wait.
func TestMinIORefuses(t *testing.T) {
	t.Parallel()
	server := storagetest.MinIO(t)
	for _, key := range []string{server.AccessKey, "unknown"} {
		store := openMinIO(t, server.Endpoint, key)
		_, _, getErr := store.Get(t.Context(), "a")
		_, statErr := store.Stat(t.Context(), "a")
		_, listErr := store.List(t.Context(), "", "", 1)
		_, putIfErr := store.PutIf(t.Context(), "a", nil, storage.IfAbsent)
		for name, err := range map[string]error{
			"Get": getErr, "Stat": statErr, "List": listErr, "PutIf": putIfErr, "Delete": store.Delete(t.Context(), "a"),
			"Put": store.Put(t.Context(), "a", io.LimitReader(zeros{}, 2<<20)), "Ping": worker(store, "a", ttl).Ping(t.Context()),
		} {
			if err == nil || storageError(err) {
				t.Errorf("%s with the wrong secret for %q: %v", name, key, err)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("%s prints the secret: %v", name, err)
			}
		}
	}
}

func storageError(err error) bool {
	for _, known := range []error{storage.ErrNotFound, storage.ErrConflict, storage.ErrUnavailable} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// TestMinIOHangs: a server that takes connections and never answers is ended by the context, in every call.
func TestMinIOHangs(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // after the parallel subtests
	store := openMinIO(t, listener.Addr().String(), "a")
	for name, call := range map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, _, err := store.Get(ctx, "a"); return err },
		"Stat":   func(ctx context.Context) error { _, err := store.Stat(ctx, "a"); return err },
		"List":   func(ctx context.Context) error { _, err := store.List(ctx, "", "", 1); return err },
		"PutIf":  func(ctx context.Context) error { _, err := store.PutIf(ctx, "a", nil, ""); return err },
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, "a") },
		"Put":    func(ctx context.Context) error { return store.Put(ctx, "a", strings.NewReader("x")) },
		"stream": func(ctx context.Context) error { return store.Put(ctx, "a", io.LimitReader(zeros{}, 40<<20)) },
		"Ping":   worker(store, "a", ttl).Ping,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			late := fmt.Errorf("late: %w", storage.ErrUnavailable)
			ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, late)
			defer cancel()
			began := time.Now()
			wantError(t, name, call(ctx), late)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("ended after %v", took)
			}
		})
	}
}

// TestMinIOCut: a connection that breaks in the middle of an object is an outage, not the object's end.
func TestMinIOCut(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"abc"`)
		w.Header().Set("Last-Modified", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	store := openMinIO(t, server.Listener.Addr().String(), "a")
	r, info, err := store.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if info.Size != 1000 || info.Version != "abc" || info.Age < 59*time.Minute || info.Age > 61*time.Minute {
		t.Errorf("%+v", info)
	}
	data, err := io.ReadAll(r)
	wantError(t, "Read", err, storage.ErrUnavailable)
	if string(data) != "half" {
		t.Errorf("read %q", data)
	}
}

// TestMinIOErrors: which answers of the server are an outage.
func TestMinIOErrors(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{
		http.StatusInternalServerError: storage.ErrUnavailable,
		http.StatusServiceUnavailable:  storage.ErrUnavailable,
		http.StatusInsufficientStorage: storage.ErrUnavailable,
		http.StatusTooManyRequests:     storage.ErrUnavailable,
		http.StatusPreconditionFailed:  storage.ErrConflict,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
		}))
		store := openMinIO(t, server.Listener.Addr().String(), "a")
		_, err := store.PutIf(t.Context(), "a", []byte("x"), storage.IfAbsent)
		wantError(t, fmt.Sprint("PutIf answered by ", status), err, want)
		server.Close()
	}
}

// answering is a server that takes everything, but that answers the end of an upload, or a deletion, with this.
func answering(t *testing.T, status int, body string) *storage.MinIO {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		query := r.URL.Query()
		w.Header().Set("ETag", `"abc"`)
		switch {
		case r.Method == http.MethodPost && query.Has("uploads"):
			_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
		case r.Method == http.MethodPost:
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}))
	t.Cleanup(server.Close)
	return openMinIO(t, server.Listener.Addr().String(), "a")
}

// TestMinIOErrorsInBodies: which of the failures are an outage that the status does not tell. A server that has begun to answer
// 200 can fail to put an upload together; one that was asked twice, because its answer was lost, knows of no upload.
func TestMinIOErrorsInBodies(t *testing.T) {
	t.Parallel()
	const upload, deletion = "<Error><Code>%s</Code></Error>", "<DeleteResult><Error><Key>a</Key><Code>%s</Code></Error></DeleteResult>"
	for _, tt := range []struct {
		name, format, code string
		status             int
		away               bool
	}{
		{"upload", upload, "InternalError", http.StatusOK, true},
		{"upload", upload, "SlowDownWrite", http.StatusOK, true},
		{"upload", upload, "NoSuchUpload", http.StatusNotFound, true},
		{"upload", upload, "AccessDenied", http.StatusForbidden, false},
		{"deletion", deletion, "SlowDownWrite", http.StatusOK, true},
		{"deletion", deletion, "AccessDenied", http.StatusOK, false},
	} {
		t.Run(tt.name+" "+tt.code, func(t *testing.T) {
			t.Parallel()
			store := answering(t, tt.status, fmt.Sprintf(tt.format, tt.code))
			err := store.Put(t.Context(), "a", io.LimitReader(zeros{}, 2<<20))
			if tt.format == deletion {
				err = store.Delete(t.Context(), "a")
			}
			if err == nil || errors.Is(err, storage.ErrUnavailable) != tt.away {
				t.Errorf("got %v", err)
			}
		})
	}
}
