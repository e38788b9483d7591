package httpapi_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
)

// BenchmarkStream is events of 1 KB from Append to the last of so many readers.
func BenchmarkStream(b *testing.B) {
	for _, readers := range []int{1, 10} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			w, run, log, s := busy(b, newSessions(), httpapi.Timing{}, 1)
			all := []*stream{s}
			for len(all) < readers {
				all = append(all, w.stream("GET", "/sessions/s/stream", ""))
			}
			var reading sync.WaitGroup
			for _, s := range all {
				reading.Go(func() { s.rest() })
			}
			text := strings.Repeat("x", 900)
			b.ResetTimer()
			for range b.N {
				say(b, log, text)
			}
			run.end(log, nil)
			reading.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkDecode is a request with an image of 3 MB.
func BenchmarkDecode(b *testing.B) {
	server := httpapi.New(config(b, newRunner(b), newSessions()))
	image := strings.Replace(png, "aGk=", strings.Repeat("QUJD", 1<<20), 1)
	body := []byte(asking(`[{"type":"text","text":"look"},` + image + `]`))
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := server.DecodeJob(body); err != nil {
			b.Fatal(err)
		}
	}
}
