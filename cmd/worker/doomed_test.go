package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// doomed is a worker with a job under way that something will happen to, and a reader of its stream.
type doomed struct {
	*proc
	*phases
	giveUp chan struct{} // closed: a request that is refused is not sent again
	read   chan struct{} // closed when the stream has ended, or there is none
	status int           // of the answer then; 0: there was none

	mu   sync.Mutex
	seen []sighting
}

// sighting is one event as a reader got it.
type sighting struct {
	line []byte
	at   time.Time
}

// startDoomed starts a worker and sends it a request, again while it answers that storage is away.
func startDoomed(t testing.TB, env map[string]string, request map[string]any) *doomed {
	t.Helper()
	p := startWorker(t, env)
	d := &doomed{proc: p, phases: watchPhases(p), giveUp: make(chan struct{}), read: make(chan struct{})}
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.read)
		for d.status = d.follow(body); d.status == http.StatusServiceUnavailable; d.status = d.follow(body) {
			select {
			case <-time.After(200 * time.Millisecond):
			case <-d.giveUp:
				return
			}
		}
	}()
	return d
}

// follow reads the stream of the job, as far as it comes.
func (d *doomed) follow(body []byte) (status int) {
	resp, err := http.Post(d.URL+"/execute", "application/json", bytes.NewReader(body))
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return resp.StatusCode
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			d.mu.Lock()
			d.seen = append(d.seen, sighting{line: bytes.TrimSuffix(data, []byte("\n")), at: time.Now()})
			d.mu.Unlock()
		}
	}
}

// sightings are all events so far.
func (d *doomed) sightings() []sighting {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen)
}

// attempt is the job's number in its session; 0 while no event has told it.
func (d *doomed) attempt() int {
	for _, s := range d.sightings() {
		return event.IDOf(s.line).Attempt
	}
	return 0
}
