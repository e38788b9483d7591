package eventlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/eventlog"
)

// The index forgets half of itself more than once here, and a tailer may start anywhere.
func TestTailStartsAnywhere(t *testing.T) {
	log := newLog(t)
	const events = 5000
	for i := range events {
		mustAppend(t, log, note(i+1))
	}
	log.Abandon()
	for _, after := range []int{-1, 0, 1, 1023, 1024, 1025, 2047, 2048, 4096, events - 1, events, events + 1, event.Lost} {
		tail := log.Tail(after)
		lines := rest(t, tail)
		if want := max(events-max(after, 0), 0); len(lines) != want {
			t.Fatalf("after %d: %d events, want %d", after, len(lines), want)
		}
		if len(lines) > 0 && event.IDOf([]byte(lines[0])).N != max(after, 0)+1 {
			t.Errorf("after %d: begins with %s", after, lines[0])
		}
		tail.Close()
	}
}

func TestLinesLongerThanAnyBuffer(t *testing.T) {
	log := newLog(t)
	long := strings.Repeat("x", 3<<20)
	mustAppend(t, log, event.Notice{Message: long})
	mustAppend(t, log, note(2))
	log.Abandon()
	lines := rest(t, log.Tail(0))
	if len(lines) != 2 || len(lines[0]) < len(long) {
		t.Errorf("%d lines", len(lines))
	}
}

// Readers come and go at random while several goroutines write: each sees every event once, in order.
func TestReadersThatReconnectMissNothing(t *testing.T) {
	log := newLog(t)
	const writers, each, readers = 4, 500, 10
	var all sync.WaitGroup
	seen := make([][]string, readers)
	for i := range readers {
		all.Go(func() { seen[i] = readInPieces(t, log, rand.New(rand.NewPCG(1, uint64(i)))) })
	}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				if _, err := log.Append(event.Notice{Message: fmt.Sprint(w, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	if err := log.Finish(event.Completed{}); err != nil {
		t.Fatal(err)
	}
	log.Reveal()
	all.Wait()
	want := strings.Split(strings.TrimSuffix(stored(t, log), "\n"), "\n")
	for i, got := range seen {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("reader %d: %s", i, diff)
		}
	}
}

func readInPieces(t *testing.T, log *eventlog.Log, random *rand.Rand) []string {
	var lines []string
	for {
		tail := log.Tail(len(lines))
		for range random.IntN(200) {
			line, id, err := tail.Next(t.Context())
			if errors.Is(err, io.EOF) {
				tail.Close()
				return lines
			}
			if err != nil || id.N != len(lines)+1 {
				t.Errorf("after %d: %s, %v", len(lines), id, err)
				return lines
			}
			lines = append(lines, string(line))
		}
		tail.Close()
	}
}

// FuzzLog plays operations against a model: a list of what was appended.
func FuzzLog(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3}, []byte(`{"a":1}`))
	f.Add([]byte{0, 0, 2, 2, 4, 0}, []byte("\"\u2028\\n\""))
	f.Add([]byte{5, 0, 3, 0}, []byte("null"))
	f.Fuzz(func(t *testing.T, ops, raw []byte) {
		log := newLog(t)
		visible, finished, ended := 0, false, false
		tail := log.Tail(0)
		defer tail.Close()
		read := 0
		for _, op := range ops {
			switch op % 5 {
			case 0, 1:
				body := event.AssistantMessage{Data: json.RawMessage(raw)}
				_, err := log.Append(body)
				if want := json.Valid(raw) && !finished && !ended; (err == nil) != want {
					t.Fatalf("Append: %v, want success %t", err, want)
				}
				if err == nil {
					visible++
				}
			case 2:
				err := log.Finish(event.Failed{Code: event.Timeout})
				if (err == nil) != !ended {
					t.Fatalf("Finish: %v, ended %t", err, ended)
				}
				finished = finished || err == nil
			case 3:
				log.Reveal()
				if finished && !ended {
					visible, ended = visible+1, true
				}
			case 4:
				read = drain(t, tail, read, visible, ended)
			}
		}
		drain(t, tail, read, visible, ended)
	})
}

// drain reads what there is and checks it against the model.
func drain(t *testing.T, tail *eventlog.Tail, read, visible int, ended bool) int {
	t.Helper()
	for ; read < visible; read++ {
		line, id, err := tail.Next(t.Context())
		if err != nil || id.N != read+1 {
			t.Fatalf("event %d of %d: %v, %v", read+1, visible, id, err)
		}
		if !json.Valid(line) || strings.ContainsAny(string(line), "\r\n") {
			t.Fatalf("not one line of JSON: %q", line)
		}
	}
	if ended {
		if _, _, err := tail.Next(context.Background()); !errors.Is(err, io.EOF) {
			t.Fatalf("at the end: %v", err)
		}
	}
	return read
}

func BenchmarkAppend(b *testing.B) {
	for _, readers := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			log := newLog(b)
			var all sync.WaitGroup
			for range readers {
				all.Go(func() { rest(b, log.Tail(0)) })
			}
			body := event.AssistantMessage{Data: json.RawMessage(`{"text":"` + strings.Repeat("x", 1000) + `"}`)}
			for b.Loop() {
				mustAppend(b, log, body)
			}
			log.Abandon()
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
