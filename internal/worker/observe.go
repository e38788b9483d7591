package worker

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/internal/metrics"
	"github.com/ai-coding-worker/ai-coding-worker/internal/tracing"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// openObservers makes those that the configuration asks for.
func (p *parts) openObservers(ctx context.Context, cfg config.Config, opts Options, providers []string, container string) (all []orchestrator.Observer, err error) {
	if cfg.MetricsAddr != "" {
		p.metrics = metrics.New(metrics.Config{
			Version: opts.Version, Providers: providers, States: httpapi.States(), Slot: func() string { return p.server.State() },
			Guard: guard(cfg),
		})
		all = append(all, p.metrics)
	}
	if cfg.TracesURL != "" {
		p.traces, err = tracing.New(ctx, tracing.Config{Endpoint: cfg.TracesURL, Version: opts.Version, ContainerID: container, Log: opts.Log})
		if err != nil {
			return nil, fmt.Errorf("open OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
		}
		all = append(all, p.traces)
	}
	return all, nil
}

// serveMetrics answers scrapes at the address that it returns (nil: there are none) until stop is called, which is after the
// end of ctx: the last scrape is of a worker that is done. stop waits for answers that have begun.
func (p *parts) serveMetrics(ctx context.Context, addr string, log zerolog.Logger) (at net.Addr, stop func(), err error) {
	if p.metrics == nil {
		return nil, func() {}, nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, fmt.Errorf("listen on METRICS_ADDR: %w", err)
	}
	log.Info().Str("addr", ln.Addr().String()).Msg("serving metrics")
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.metrics.Serve(ctx, ln); err != nil {
			log.Error().Err(err).Msg("metrics are not served any more")
		}
	}()
	return ln.Addr(), func() { cancel(); <-done }, nil
}

// linger gives Prometheus the time to take the numbers of a job that is over, unless ctx ends.
func (p *parts) linger(ctx context.Context, d time.Duration) {
	if p.metrics == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	p.metrics.Linger(ctx)
}
