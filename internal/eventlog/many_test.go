package eventlog_test

import (
	"bytes"
	"runtime"
	"sync"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
)

// TestHundredReadersOfALongLog read 100,000 events, each from another place on, the last ones as they come. What the readers
// and the log keep in memory is bounded by their number, whatever the log's length.
func TestHundredReadersOfALongLog(t *testing.T) {
	const events, live, readers, perReader = 100_000, 1000, 100, 32 << 10
	log := newLog(t)
	before := liveHeap()
	for i := range events - live {
		mustAppend(t, log, note(i+1))
	}
	var reading sync.WaitGroup
	begun, over := make(chan struct{}, readers), make(chan struct{})
	for i := range readers {
		reading.Go(func() {
			readOn(t, log, events/readers*i, events, begun, over)
		})
	}
	for range readers {
		<-begun
	}
	for i := range live {
		mustAppend(t, log, note(events-live+i+1))
	}
	log.Abandon()
	reading.Wait()
	if grown, most := liveHeap()-before, int64(readers*perReader); grown > most {
		t.Errorf("%d bytes more are live, of at most %d", grown, most)
	}
	close(over)
}

// readOn reads from behind one event to the last, which is numbered last, and keeps its tailer open until over.
func readOn(t *testing.T, log *eventlog.Log, after, last int, begun chan<- struct{}, over <-chan struct{}) {
	tail := log.Tail(after)
	go func() {
		<-over
		tail.Close()
	}()
	begun <- struct{}{}
	for n := after + 1; n <= last; n++ {
		line, id, err := tail.Next(t.Context())
		if err != nil || id.N != n || !bytes.HasPrefix(line, []byte(`{"type":"message","id":"`+id.String()+`"`)) {
			t.Errorf("event %d: %s %s %v", n, id, line, err)
			return
		}
	}
	if _, _, err := tail.Next(t.Context()); err == nil {
		t.Error("something comes after the end")
	}
}

func liveHeap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
