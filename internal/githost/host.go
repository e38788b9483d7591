// Package githost is a git host: bare repositories over smart HTTP with basic authentication, served by git's own
// http-backend. It can refuse, hang, dawdle, redirect and cut as real hosts do, and it keeps a log of its requests.
// The demo runs on it, and so do the tests of everything that meets a remote.
package githost

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Config describes a Host. Its zero value is a host on a free loopback port that lets everybody read and write.
type Config struct {
	Addr          string // to listen on; empty: 127.0.0.1 and a free port
	Dir           string // keeps the repositories; empty: a temporary directory, removed by Close
	Token         string // asked for as password or as user name of basic authentication; empty: nobody is asked
	AnonymousRead bool   // a Token is asked for only by pushes, as with public repositories
	ReadOnly      bool   // pushes are answered with 403
}

// Host is a running git host. Its methods are safe for concurrent use.
type Host struct {
	cfg     Config
	git     string
	dir     string
	ownDir  bool
	url     string
	backend http.Handler
	server  *http.Server
	served  chan struct{}

	mu       sync.Mutex
	faults   []fault
	requests []Request
	closed   chan struct{} // ends the requests that hang
}

// Start serves until Close. It needs git on the PATH.
func Start(cfg Config) (*Host, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("start git host: %w", err)
	}
	h := &Host{cfg: cfg, git: git, dir: cfg.Dir, served: make(chan struct{}), closed: make(chan struct{})}
	if h.dir == "" {
		if h.dir, err = os.MkdirTemp("", "githost-"); err != nil {
			return nil, fmt.Errorf("start git host: %w", err)
		}
		h.ownDir = true
	}
	if h.dir, err = filepath.Abs(h.dir); err != nil {
		return nil, fmt.Errorf("start git host: %w", err)
	}
	h.backend = backend(git, h.dir)
	if err := h.listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("start git host: %w", err), h.removeDir())
	}
	return h, nil
}

func backend(git, dir string) http.Handler {
	return &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"},
		Dir:  dir,
		Env: append(gitEnv(git),
			"GIT_PROJECT_ROOT="+dir,
			"GIT_HTTP_EXPORT_ALL=1",
		),
		Logger: log.New(io.Discard, "", 0),
		Stderr: io.Discard,
	}
}

func (h *Host) listen() error {
	addr := h.cfg.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return err
	}
	h.url = "http://" + listener.Addr().String()
	h.server = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(h.served)
		_ = h.server.Serve(listener) // ErrServerClosed, or the listener is gone: there is nobody to tell
	}()
	return nil
}

// URL is the host's address without a path, as http://127.0.0.1:41234.
func (h *Host) URL() string { return h.url }

// CloneURL is where a repository is cloned from; it need not exist.
func (h *Host) CloneURL(name string) string { return h.url + "/" + name + ".git" }

// Dir is the bare repository's directory.
func (h *Host) Dir(name string) string { return filepath.Join(h.dir, filepath.FromSlash(name)+".git") }

// Close ends every request and removes the repositories, unless Config.Dir keeps them. It may be called twice.
func (h *Host) Close() error {
	h.mu.Lock()
	select {
	case <-h.closed:
	default:
		close(h.closed)
	}
	h.mu.Unlock()
	err := h.server.Close()
	<-h.served
	return errors.Join(err, h.removeDir())
}

func (h *Host) removeDir() error {
	if !h.ownDir {
		return nil
	}
	return os.RemoveAll(h.dir)
}

// ServeHTTP implements http.Handler.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w, status: http.StatusOK, begun: time.Now()}
	defer h.record(r, rec)
	if f, ok := h.takeFault(r); ok {
		if h.act(rec, r, f) {
			return
		}
		rec.ResponseWriter = f.slow(w, r.Context(), h.closed)
	}
	if !h.authorized(r) {
		rec.Header().Set("WWW-Authenticate", `Basic realm="githost"`)
		http.Error(rec, "authentication is required", http.StatusUnauthorized)
		return
	}
	if h.cfg.ReadOnly && service(r) == ReceivePack {
		http.Error(rec, "this host is read-only", http.StatusForbidden)
		return
	}
	r.TransferEncoding = nil // net/http/cgi refuses chunked bodies; http-backend reads them to their end
	h.backend.ServeHTTP(rec, r)
}

func (h *Host) authorized(r *http.Request) bool {
	if h.cfg.Token == "" || h.cfg.AnonymousRead && service(r) != ReceivePack {
		return true
	}
	user, password, ok := r.BasicAuth()
	return ok && (same(password, h.cfg.Token) || same(user, h.cfg.Token))
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// The services of a git host.
const (
	UploadPack  = "git-upload-pack"  // clones and fetches
	ReceivePack = "git-receive-pack" // pushes
)

func service(r *http.Request) string {
	for _, s := range []string{UploadPack, ReceivePack} {
		if r.URL.Query().Get("service") == s || strings.HasSuffix(r.URL.Path, "/"+s) {
			return s
		}
	}
	return ""
}

// wait lets d pass; false if the request or the host ended first.
func wait(ctx context.Context, closed <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-closed:
		return false
	}
}
