// Package tracing tells an OpenTelemetry collector how jobs went: one trace for each job, with a span for each of its phases. No
// attribute comes from a request's words or from an agent.
package tracing

import (
	"context"
	"fmt"
	"net/url"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// scope names this program's own spans.
const scope = "github.com/ai-coding-worker/ai-coding-worker"

// Config is what Traces are made of. The exporter and the resource also obey the OTEL_ variables of the process's environment
// that OpenTelemetry defines, for what is not said here.
type Config struct {
	Endpoint    string // http or https; /v1/traces is added
	Version     string
	ContainerID string
	Log         zerolog.Logger // for spans that could not be delivered
}

// Traces delivers in the background, in batches. It is an orchestrator.Observer, and safe for concurrent use.
type Traces struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// New makes Traces; nothing is asked of the collector yet. Close them. Errors of deliveries go to the log of the Traces made last,
// for OpenTelemetry has one handler in a process.
func New(ctx context.Context, cfg Config) (*Traces, error) {
	endpoint, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("read the collector's address: %w", err)
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint.JoinPath("v1", "traces").String()))
	if err != nil {
		return nil, fmt.Errorf("make an exporter of traces: %w", err)
	}
	self, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "ai-coding-worker"), attribute.String("service.version", cfg.Version),
		attribute.String("service.instance.id", cfg.ContainerID),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe this worker: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { cfg.Log.Warn().Err(err).Msg("traces not delivered") }))
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(self))
	return &Traces{provider: provider, tracer: provider.Tracer(scope, trace.WithInstrumentationVersion(cfg.Version))}, nil
}

// Close delivers what is left, unless ctx ends first.
func (t *Traces) Close(ctx context.Context) {
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err)
	}
}

// Watch implements orchestrator.Observer.
func (t *Traces) Watch(job orchestrator.JobInfo) orchestrator.Watch {
	ctx, span := t.tracer.Start(context.Background(), "job", trace.WithTimestamp(job.Begun), trace.WithAttributes(
		attribute.String("aicw.session.id", job.SessionID), attribute.String("aicw.request.id", job.RequestID),
		attribute.String("aicw.provider", job.Provider),
	))
	return &watch{tracer: t.tracer, ctx: ctx, span: span, job: job}
}

// watch is one job's trace.
type watch struct {
	tracer trace.Tracer
	ctx    context.Context // with the job's span
	span   trace.Span
	job    orchestrator.JobInfo
	events int64
}

// Phase implements orchestrator.Watch. The span is made when the phase is over, with the times that it had.
func (w *watch) Phase(p orchestrator.Phase) {
	_, span := w.tracer.Start(w.ctx, p.Name, trace.WithTimestamp(p.Begun))
	fail(span, p.Code)
	if p.Restored > 0 {
		span.SetAttributes(attribute.Int64("aicw.restored.bytes", p.Restored))
	}
	if p.Saved > 0 {
		span.SetAttributes(attribute.Int64("aicw.saved.bytes", p.Saved))
	}
	span.End(trace.WithTimestamp(p.Begun.Add(p.Took)))
}

// Said implements orchestrator.Watch.
func (w *watch) Said(string) { w.events++ }

// Ended implements orchestrator.Watch.
func (w *watch) Ended(e orchestrator.End) {
	fail(w.span, e.Code)
	w.span.SetAttributes(
		attribute.String("aicw.outcome", string(e.Outcome)), attribute.Int("aicw.attempt", e.Attempt),
		attribute.Int64("aicw.events", w.events), attribute.Int64("aicw.tokens.input", e.Usage.InputTokens),
		attribute.Int64("aicw.tokens.output", e.Usage.OutputTokens), attribute.Float64("aicw.cost.usd", e.Usage.CostUSD),
	)
	w.span.End(trace.WithTimestamp(w.job.Begun.Add(e.Took)))
}

// fail marks a span by the code of a failure; its words stay with the job.
func fail(span trace.Span, code event.Code) {
	if code == "" {
		return
	}
	span.SetStatus(codes.Error, string(code))
	span.SetAttributes(attribute.String("aicw.code", string(code)))
}
