package worker

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// watchdog finds out when an idle worker no longer answers: to a supervisor that only watches for the process's end it would be
// lost for ever. A busy one is left alone, since its job ends by itself and is worth more than an answer.
type watchdog struct {
	url      string        // of the worker's own /health
	every    time.Duration // between two questions, each of which may take as long
	patience int           // how many questions in a row may go without an answer
	idle     func() bool
}

func newWatchdog(addr string, idle func() bool) watchdog {
	return watchdog{url: "http://" + addr + "/health", every: 15 * time.Second, patience: 8, idle: idle}
}

// run returns nil at the end of ctx, and an error when the worker has given no answer for too long.
func (w watchdog) run(ctx context.Context) error {
	ticks := time.NewTicker(w.every)
	defer ticks.Stop()
	for unanswered := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		err := w.ask(ctx)
		if err == nil || !w.idle() {
			unanswered = 0
			continue
		}
		if unanswered++; unanswered > w.patience && ctx.Err() == nil {
			return fmt.Errorf("this worker has left %d questions unanswered: %w", unanswered, err)
		}
	}
}

func (w watchdog) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.every)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /health: %s", res.Status)
	}
	return nil
}
