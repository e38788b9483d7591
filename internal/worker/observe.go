package worker

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"
)

// serveMetrics answers scrapes until stop is called, which is after the end of ctx: the last scrape is of a worker that is done.
func (p *parts) serveMetrics(ctx context.Context, addr string, log zerolog.Logger) (stop func(), err error) {
	if p.metrics == nil {
		return func() {}, nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on METRICS_ADDR: %w", err)
	}
	log.Info().Str("addr", ln.Addr().String()).Msg("serving metrics")
	ctx, stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		if err := p.metrics.Serve(ctx, ln); err != nil {
			log.Error().Err(err).Msg("metrics are not served any more")
		}
	}()
	return stop, nil
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
