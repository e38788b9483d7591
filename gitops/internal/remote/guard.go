package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	infoRefs    = "/info/refs"
	maxInfoRefs = 64 << 20 // about half a million references
	receivePack = "/git-receive-pack"
	maxReport   = 16 << 20 // of an answer to a push, with what hooks print
)

var errStalled = errors.New("it went silent")

// guard is the http.RoundTripper below go-git's: it judges redirects before anybody follows them, ends requests in
// which the host is silent, bounds the list of references, and sends a push's pack from its file, which go-git would
// keep in memory.
type guard struct {
	base  http.RoundTripper
	stall time.Duration
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watch{stall: g.stall, cancel: cancel}
	w.timer = time.AfterFunc(g.stall, w.expire)
	req = req.Clone(ctx)
	attachPack(req)
	if req.Body != nil {
		req.Body = &sending{ReadCloser: req.Body, watch: w}
		req.GetBody = nil
	}
	res, err := g.base.RoundTrip(req)
	w.timer.Stop()
	if err != nil {
		defer cancel(nil)
		return nil, w.explain(ctx, err)
	}
	if err := checkRedirect(req.URL, res); err != nil {
		defer cancel(nil)
		return nil, errors.Join(err, res.Body.Close())
	}
	res.Body = &receiving{ReadCloser: res.Body, watch: w, ctx: ctx}
	if strings.HasSuffix(req.URL.Path, infoRefs) {
		return whole(res)
	}
	if strings.HasSuffix(req.URL.Path, receivePack) {
		res.Body = &report{ReadCloser: res.Body, left: maxReport}
	}
	return res, nil
}

// whole reads a list of references to its end here, where a cut connection is still to be told from an answer that
// makes no sense.
func whole(res *http.Response) (*http.Response, error) {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxInfoRefs+1))
	if err == nil && len(body) > maxInfoRefs {
		err = fmt.Errorf("its list of references is longer than %d MiB", maxInfoRefs>>20)
	}
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// checkRedirect lets a repository move within its own scheme, host and port, as hosts do that lack a ".git" or know an
// old name, and only on the first request of a conversation.
func checkRedirect(from *url.URL, res *http.Response) error {
	if res.StatusCode < 300 || res.StatusCode > 399 {
		return nil
	}
	to, err := res.Location()
	if err != nil {
		return fmt.Errorf("%w: it answers %d without a usable place to go", ErrRedirect, res.StatusCode)
	}
	if !strings.HasSuffix(from.Path, infoRefs) || !strings.HasSuffix(to.Path, infoRefs) ||
		to.Scheme != from.Scheme || !strings.EqualFold(to.Hostname(), from.Hostname()) || port(to) != port(from) {
		return fmt.Errorf("%w: to %s://%s", ErrRedirect, to.Scheme, to.Host)
	}
	return nil
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

// watch cancels a request when nothing has moved for its time.
type watch struct {
	stall  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func (w *watch) expire() { w.cancel(fmt.Errorf("%w for %v", errStalled, w.stall)) }

func (w *watch) explain(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// sending moves the watch on with every part of the request that is sent.
type sending struct {
	io.ReadCloser
	watch *watch
}

func (s *sending) Read(p []byte) (int, error) {
	s.watch.timer.Reset(s.watch.stall)
	return s.ReadCloser.Read(p)
}

// receiving is watched only while it is being read: a slow reader is not a silent host.
type receiving struct {
	io.ReadCloser
	watch *watch
	ctx   context.Context
}

func (r *receiving) Read(p []byte) (int, error) {
	r.watch.timer.Reset(r.watch.stall)
	n, err := r.ReadCloser.Read(p)
	r.watch.timer.Stop()
	return n, r.watch.explain(r.ctx, err)
}

func (r *receiving) Close() error {
	r.watch.timer.Stop()
	err := r.ReadCloser.Close()
	r.watch.cancel(net.ErrClosed)
	return err
}

// report is an answer that is kept in memory while it is read.
type report struct {
	io.ReadCloser
	left int
}

func (r *report) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.left -= n; r.left < 0 {
		return 0, fmt.Errorf("its answer is longer than %d MiB", maxReport>>20)
	}
	return n, err
}

type packKey struct{}

// pack is what follows the commands of a push.
type pack struct {
	data io.Reader
	size int64
}

func withPack(ctx context.Context, data io.Reader, size int64) context.Context {
	return context.WithValue(ctx, packKey{}, pack{data: data, size: size})
}

func attachPack(req *http.Request) {
	p, ok := req.Context().Value(packKey{}).(pack)
	if !ok || req.Method != http.MethodPost || req.Body == nil {
		return
	}
	commands := req.Body
	req.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(commands, p.data), commands}
	req.ContentLength += p.size
}
