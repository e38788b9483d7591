package githost

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// Fault is what happens to a request instead of, or on top of, its answer. The first field that is set decides; SlowBy
// and CutAfter change the true answer.
type Fault struct {
	Hang     bool          // no answer until the client leaves or the host is closed
	Location string        // a redirect: to this URL, with Status or 302
	Status   int           // this status, with Body
	Body     string        //
	Header   http.Header   // sent beside Status or Location
	SlowBy   time.Duration // before each write of the answer
	CutAfter int64         // the connection is cut after so many bytes of the answer
	Once     bool          // for one request only
}

type fault struct {
	match string
	Fault
}

// Fail lets every request whose path and query contain match meet f, until Heal. The latest matching fault wins.
func (h *Host) Fail(match string, f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, fault{match: match, Fault: f})
}

// Heal removes all faults.
func (h *Host) Heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = nil
}

func (h *Host) takeFault(r *http.Request) (Fault, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.faults) - 1; i >= 0; i-- {
		f := h.faults[i]
		if !strings.Contains(r.URL.RequestURI(), f.match) {
			continue
		}
		if f.Once {
			h.faults = append(h.faults[:i], h.faults[i+1:]...)
		}
		return f.Fault, true
	}
	return Fault{}, false
}

// act answers by the fault alone; false if the fault wants the true answer.
func (h *Host) act(w http.ResponseWriter, r *http.Request, f Fault) bool {
	for key, values := range f.Header {
		w.Header()[key] = values
	}
	switch {
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-h.closed:
		}
		panic(http.ErrAbortHandler)
	case f.Location != "":
		status := f.Status
		if status == 0 {
			status = http.StatusFound
		}
		http.Redirect(w, r, f.Location, status)
	case f.Status != 0:
		w.WriteHeader(f.Status)
		_, _ = w.Write([]byte(f.Body))
	default:
		return false
	}
	return true
}

func (f Fault) slow(w http.ResponseWriter, ctx context.Context, closed <-chan struct{}) http.ResponseWriter {
	return &slowWriter{ResponseWriter: w, fault: f, left: f.CutAfter, ctx: ctx, closed: closed}
}

type slowWriter struct {
	http.ResponseWriter
	fault  Fault
	left   int64
	ctx    context.Context
	closed <-chan struct{}
}

func (s *slowWriter) Write(p []byte) (int, error) {
	if s.fault.SlowBy > 0 && !wait(s.ctx, s.closed, s.fault.SlowBy) {
		panic(http.ErrAbortHandler)
	}
	if s.fault.CutAfter > 0 {
		if int64(len(p)) >= s.left {
			_, _ = s.ResponseWriter.Write(p[:s.left])
			_ = http.NewResponseController(s.ResponseWriter).Flush()
			panic(http.ErrAbortHandler)
		}
		s.left -= int64(len(p))
	}
	n, err := s.ResponseWriter.Write(p)
	if err == nil {
		err = http.NewResponseController(s.ResponseWriter).Flush()
	}
	return n, err
}

func (s *slowWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
