package storagetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/internal/tooltest"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// Server is a real MinIO server on a loopback port. It ends with the test process, however that ends, and its data with it.
type Server struct {
	Endpoint  string // host:port
	AccessKey string
	SecretKey string

	binary, data string
	guard        *exec.Cmd
	alive        io.WriteCloser // the guard's standard input
}

// MinIO returns the server that all tests of this process share; it is started by the first of them.
func MinIO(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = start(tooltest.Path(t, "minio")) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	if shared.server == nil {
		t.Fatal("another test could not start MinIO")
	}
	return shared.server
}

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// StartMinIO starts a server of the test's own, for it to stop and start again; it ends with the test.
func StartMinIO(t testing.TB) *Server {
	t.Helper()
	s, err := start(tooltest.Path(t, "minio"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop(t)
		if err := os.RemoveAll(s.data); err != nil {
			t.Errorf("remove MinIO's data: %v", err)
		}
	})
	return s
}

// Store opens a bucket of its own on the server; the store makes it when it first writes.
func (s *Server) Store(t testing.TB) *storage.MinIO {
	t.Helper()
	return s.Bucket(t, "test-"+strings.ToLower(rand.Text()))
}

// Bucket opens the bucket of that name.
func (s *Server) Bucket(t testing.TB, name string) *storage.MinIO {
	t.Helper()
	store, err := storage.NewMinIO(storage.MinIOConfig{
		Endpoint: s.Endpoint, AccessKey: secret.New(s.AccessKey), SecretKey: secret.New(s.SecretKey),
		Bucket: name, Region: "us-east-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// Stop kills the server; its data stays. On one that is stopped it does nothing.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.guard == nil {
		return
	}
	if err := s.end("keep\n"); err != nil {
		t.Errorf("stop MinIO: %v", err)
	}
}

func (s *Server) end(order string) error {
	_, err := io.WriteString(s.alive, order)
	err = errors.Join(err, s.alive.Close(), s.guard.Wait())
	s.guard = nil
	return err
}

// Start brings a stopped server back, with its data and under its address.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

func start(binary string) (*Server, error) {
	data, err := os.MkdirTemp("", "aicw-minio-")
	if err != nil {
		return nil, fmt.Errorf("start MinIO: %w", err)
	}
	s := &Server{AccessKey: "test-" + rand.Text()[:8], SecretKey: rand.Text(), binary: binary, data: data}
	var errs []error
	for range 5 { // another process may take the free port first
		if s.Endpoint, err = freeAddress(); err == nil {
			err = s.run()
		}
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	_ = os.RemoveAll(data)
	return nil, errors.Join(errs...)
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

// guardScript runs the server until its own standard input ends, which also happens when this process panics or is
// killed. It kills the server by its process ID, and removes the data unless it is told to keep them.
const guardScript = `data=$1; shift; "$@" <&- & pid=$!; read -r order; kill -9 $pid; wait $pid; test "$order" = keep || rm -rf "$data"`

func (s *Server) run() error {
	output, err := os.Create(filepath.Join(s.data, "server.log"))
	if err != nil {
		return fmt.Errorf("start MinIO: %w", err)
	}
	defer func() { _ = output.Close() }()
	guard := exec.Command("/bin/sh", "-c", guardScript, "guard", s.data,
		s.binary, "server", "--quiet", "--address", s.Endpoint, "--console-address", "127.0.0.1:0", filepath.Join(s.data, "disk"))
	guard.Env = []string{
		"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CI_CD=on", "HOME=" + s.data, "PATH=" + os.Getenv("PATH"),
	}
	guard.Stdout, guard.Stderr = output, output
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal reaches it by way of the pipe
	if s.alive, err = guard.StdinPipe(); err != nil {
		return fmt.Errorf("start MinIO: %w", err)
	}
	if err := guard.Start(); err != nil {
		return fmt.Errorf("start MinIO: %w", err)
	}
	s.guard = guard
	if err := s.await(30 * time.Second); err != nil {
		said, _ := os.ReadFile(output.Name())
		return errors.Join(fmt.Errorf("start MinIO: %w; it said: %s", err, said), s.end("keep\n"))
	}
	return nil
}

// await polls until the server can serve requests.
func (s *Server) await(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Endpoint+"/minio/health/ready", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK && resp.Header.Get("Server") == "MinIO" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer after %v: %w", patience, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
