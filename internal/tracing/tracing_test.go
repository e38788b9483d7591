package tracing_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/tracing"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// receiver is a collector.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*collector.ExportTraceServiceRequest
}

func startReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var message collector.ExportTraceServiceRequest
	if err != nil || req.URL.Path != "/otlp/v1/traces" || proto.Unmarshal(body, &message) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, &message)
}

// spans are all that came, as they begin; the resource is that of the last.
func (r *receiver) spans() (spans []*wire.Span, resource map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, request := range r.requests {
		for _, of := range request.GetResourceSpans() {
			resource = attributes(of.GetResource().GetAttributes())
			for _, scope := range of.GetScopeSpans() {
				spans = append(spans, scope.GetSpans()...)
			}
		}
	}
	slices.SortStableFunc(spans, func(a, b *wire.Span) int { return int(a.GetStartTimeUnixNano()) - int(b.GetStartTimeUnixNano()) })
	return spans, resource
}

func attributes(list []*common.KeyValue) map[string]any {
	all := make(map[string]any)
	for _, a := range list {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			all[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			all[a.GetKey()] = v.IntValue
		case *common.AnyValue_DoubleValue:
			all[a.GetKey()] = v.DoubleValue
		}
	}
	return all
}

func newTraces(t *testing.T, url string) (*tracing.Traces, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	traces, err := tracing.New(t.Context(), tracing.Config{
		Endpoint: url, Version: "v1", ContainerID: "box", Log: zerolog.New(zerolog.SyncWriter(log)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return traces, log
}

func closeIn(t *testing.T, traces *tracing.Traces, patience time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	traces.Close(ctx)
}

var begun = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// failedJob tells of a job that could not push.
func failedJob(o orchestrator.Observer) {
	w := o.Watch(orchestrator.JobInfo{SessionID: "site", RequestID: "request-1", Provider: "script", Begun: begun})
	w.Said(event.TypeConnected)
	w.Phase(orchestrator.Phase{Name: "restore", Begun: begun.Add(time.Second), Took: 2 * time.Second, Restored: 700})
	w.Phase(orchestrator.Phase{Name: "push", Begun: begun.Add(4 * time.Second), Took: time.Second, Code: event.PushRejected})
	w.Said(event.TypeError)
	w.Ended(orchestrator.End{
		Outcome: orchestrator.JobFailed, Code: event.PushRejected, Attempt: 3, Took: 10 * time.Second,
		Usage: event.Usage{InputTokens: 7, OutputTokens: 3, CostUSD: 0.5},
	})
}

func TestTraceOfAJob(t *testing.T) {
	r := startReceiver(t)
	traces, log := newTraces(t, r.URL+"/otlp")
	failedJob(traces)
	closeIn(t, traces, 20*time.Second)
	spans, resource := r.spans()
	type span struct {
		Name         string
		Parent       string
		From, Length time.Duration
		Status       string
		Attributes   map[string]any
	}
	names := map[string]string{"": ""}
	for _, s := range spans {
		names[hex.EncodeToString(s.GetSpanId())] = s.GetName()
	}
	var got []span
	for _, s := range spans {
		from := time.Unix(0, int64(s.GetStartTimeUnixNano()))
		if !bytes.Equal(s.GetTraceId(), spans[0].GetTraceId()) {
			t.Errorf("%s is in another trace", s.GetName())
		}
		got = append(got, span{
			Name: s.GetName(), Parent: names[hex.EncodeToString(s.GetParentSpanId())], From: from.Sub(begun),
			Length: time.Unix(0, int64(s.GetEndTimeUnixNano())).Sub(from), Status: s.GetStatus().GetMessage(), Attributes: attributes(s.GetAttributes()),
		})
	}
	want := []span{
		{"job", "", 0, 10 * time.Second, "push_rejected", map[string]any{
			"aicw.session.id": "site", "aicw.request.id": "request-1", "aicw.provider": "script", "aicw.code": "push_rejected",
			"aicw.outcome": "failed", "aicw.attempt": int64(3), "aicw.events": int64(2),
			"aicw.tokens.input": int64(7), "aicw.tokens.output": int64(3), "aicw.cost.usd": 0.5,
		}},
		{"restore", "job", time.Second, 2 * time.Second, "", map[string]any{"aicw.restored.bytes": int64(700)}},
		{"push", "job", 4 * time.Second, time.Second, "push_rejected", map[string]any{"aicw.code": "push_rejected"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if resource["service.name"] != "ai-coding-worker" || resource["service.version"] != "v1" || resource["service.instance.id"] != "box" {
		t.Errorf("resource %v", resource)
	}
	if log.Len() > 0 {
		t.Errorf("log: %s", log)
	}
}

func TestJobsHaveTracesOfTheirOwn(t *testing.T) {
	r := startReceiver(t)
	traces, _ := newTraces(t, r.URL+"/otlp/")
	failedJob(traces)
	failedJob(traces)
	closeIn(t, traces, 20*time.Second)
	ids := make(map[string]int)
	spans, _ := r.spans()
	for _, s := range spans {
		ids[string(s.GetTraceId())]++
	}
	if len(ids) != 2 || len(spans) != 6 {
		t.Errorf("%d spans in %d traces", len(spans), len(ids))
	}
}

// A collector that is away, in whatever way, costs a bounded time and a line of the log.
func TestCollectorThatIsAway(t *testing.T) {
	over := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(over) })
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(failing.Close)
	refusing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(refusing.Close)
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	for name, url := range map[string]string{"hanging": hanging.URL, "failing": failing.URL, "refusing": refusing.URL, "dead": dead.URL} {
		t.Run(name, func(t *testing.T) {
			traces, log := newTraces(t, url)
			failedJob(traces)
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				closeIn(t, traces, 50*time.Millisecond)
			}()
			select {
			case <-closed:
			case <-time.After(20 * time.Second):
				t.Fatal("Close goes on")
			}
			if !strings.Contains(log.String(), "traces not delivered") {
				t.Errorf("log: %q", log)
			}
		})
	}
}

func TestAddressThatIsNone(t *testing.T) {
	if _, err := tracing.New(t.Context(), tracing.Config{Endpoint: "http://[::1"}); err == nil {
		t.Error("New() = nil")
	}
}
