package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// tracesReceiver is an OpenTelemetry collector.
type tracesReceiver struct {
	*httptest.Server
	mu       sync.Mutex
	raw      []byte
	statuses map[string]string // of the spans, by their names
}

func startTracesReceiver(t *testing.T) *tracesReceiver {
	t.Helper()
	r := &tracesReceiver{statuses: make(map[string]string)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *tracesReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	var message collector.ExportTraceServiceRequest
	if proto.Unmarshal(body, &message) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw = append(r.raw, body...)
	for _, of := range message.GetResourceSpans() {
		for _, scope := range of.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				r.statuses[span.GetName()] = span.GetStatus().GetMessage()
			}
		}
	}
}

// got is what the collector has by now.
func (r *tracesReceiver) got() (statuses map[string]string, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.statuses, r.raw
}

// TestTracesOfRealJobs looks at what the collector has when the worker has exited.
func TestTracesOfRealJobs(t *testing.T) {
	_, repoURL := startGit(t)
	for name, tt := range map[string]struct {
		request map[string]any
		want    map[string]string
	}{
		"completed": {
			script("echo "+gitToken+" > page.txt", "github", github(repoURL), "websiteSessionId", "traced"),
			map[string]string{"job": "", "start": "", "restore": "", "clone": "", "assist": "", "commit": "", "save": "", "push": "", "finish": ""},
		},
		"failed": {
			script("exit 3"),
			map[string]string{"job": "provider_error", "start": "", "restore": "", "clone": "", "assist": "provider_error", "commit": "", "save": "", "finish": ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			receiver := startTracesReceiver(t)
			p := startWorker(t, with(env(t), "OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL, "OTEL_RESOURCE_ATTRIBUTES", "fleet=test-fleet"))
			s := p.post(tt.request)
			s.end()
			if code := p.exited(); code != 0 {
				t.Errorf("exit status %d", code)
			}
			statuses, raw := receiver.got()
			if diff := cmp.Diff(tt.want, statuses); diff != "" {
				t.Errorf("spans and their failures (-want +got):\n%s", diff)
			}
			if found := leaks(raw, gitToken); len(found) > 0 {
				t.Errorf("the collector knows %v", found)
			}
			for _, word := range []string{"exit 3", "page.txt", "acme"} {
				if strings.Contains(string(raw), word) {
					t.Errorf("the collector knows %q", word)
				}
			}
			for _, want := range []string{"test-fleet", s.events[0]["sessionId"].(string), s.header.Get("X-Request-Id")} {
				if !strings.Contains(string(raw), want) {
					t.Errorf("the collector does not know %q", want)
				}
			}
		})
	}
}

// TestJobWhoseCollectorIsDead ends as every other job.
func TestJobWhoseCollectorIsDead(t *testing.T) {
	receiver := startTracesReceiver(t)
	receiver.Close()
	p := startWorker(t, with(env(t), "OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL))
	p.post(script("true")).completed()
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if !strings.Contains(p.logs.String(), "traces not delivered") {
		t.Errorf("nobody says that the traces are lost:\n%s", p.logs)
	}
}
