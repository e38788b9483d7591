package githost

import (
	"net/http"
	"time"
)

// Request is one line of the host's log.
type Request struct {
	Method     string
	Path       string        // with its query
	Service    string        // UploadPack, ReceivePack or empty
	User       string        // of basic authentication
	Password   string        //
	Authorized bool          // a header Authorization came along, whatever its worth
	Status     int           // of the answer
	Took       time.Duration // until the answer was complete
}

// Requests returns what the host was asked so far, oldest first. A request stands in it once it is answered.
func (h *Host) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Request(nil), h.requests...)
}

func (h *Host) record(r *http.Request, rec *recorder) {
	user, password, _ := r.BasicAuth()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, Request{
		Method: r.Method, Path: r.URL.RequestURI(), Service: service(r),
		User: user, Password: password, Authorized: r.Header.Get("Authorization") != "", Status: rec.status, Took: time.Since(rec.begun),
	})
}

type recorder struct {
	http.ResponseWriter
	status int
	begun  time.Time
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
