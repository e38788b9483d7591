package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

const (
	minioUser     = "bench-user"
	minioPassword = "bench-password"
)

// minioServer is a MinIO of the bench's own, on loopback.
type minioServer struct {
	cmd  *exec.Cmd
	addr string
}

func startMinIO(ctx context.Context, binary, dir string) (*minioServer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &minioServer{addr: listener.Addr().String()}
	listener.Close()
	s.cmd = exec.CommandContext(ctx, binary, "server", "--quiet", "--address", s.addr, dir)
	s.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+minioUser, "MINIO_ROOT_PASSWORD="+minioPassword)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for range 300 {
		res, err := http.Get("http://" + s.addr + "/minio/health/ready")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("MinIO does not answer on %s", s.addr)
}

func (s *minioServer) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// env is what a worker is told to keep its sessions in a bucket of this server.
func (s *minioServer) env(bucket string) map[string]string {
	return map[string]string{
		"MINIO_ENDPOINT": s.addr, "MINIO_ACCESS_KEY": minioUser, "MINIO_SECRET_KEY": minioPassword, "MINIO_BUCKET": bucket,
	}
}

// open is the same bucket for the bench itself.
func (s *minioServer) open(bucket string) (storage.Store, error) {
	return storage.NewMinIO(storage.MinIOConfig{
		Endpoint: s.addr, AccessKey: secret.New(minioUser), SecretKey: secret.New(minioPassword), Bucket: bucket, Region: "us-east-1",
	})
}
