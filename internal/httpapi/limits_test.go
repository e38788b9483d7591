package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
)

// manyImages is a request with images, of exactly so many bytes.
func manyImages(size int) string {
	const each = 4 << 20
	head, image, tail := `{"codingAssistantProvider":"script","userRequest":[{"type":"text","text":"`,
		`,{"type":"image","source":{"type":"base64","media_type":"image/png","data":"`+strings.Repeat("QUJD", each/4)+`"}}`, `]}`
	var images strings.Builder
	for range (size - 1000) / len(image) {
		images.WriteString(image)
	}
	text := size - len(head) - len(`"}`) - images.Len() - len(tail)
	return head + strings.Repeat("x", text) + `"}` + images.String() + tail
}

// TestThirtyTwoMegabytesOfImages are the default limit. Of the request the job keeps the images alone.
func TestThirtyTwoMegabytesOfImages(t *testing.T) {
	r := newRunner(t)
	w := serve(t, config(t, r, newSessions()))
	before := liveHeap()
	const limit = 32 << 20
	if a := w.do("POST", "/execute", manyImages(limit+1)); a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.raw, "larger than 33554432 bytes") {
		t.Errorf("one byte more: %d %s", a.status, a.raw)
	}
	taken := make(chan *run, 1)
	go func() {
		run := r.next()
		run.begin("s", 1)
		taken <- run
	}()
	w.stream("POST", "/execute", manyImages(limit)).cancel()
	run := <-taken
	images := 0
	for _, block := range run.job.Prompt.Blocks {
		images += len(block.Data)
	}
	if images < limit*5/8 {
		t.Errorf("%d bytes of images", images)
	}
	w.http.CloseIdleConnections()
	most := int64(images) + 12<<20 // the text, and what the test's own client has kept
	eventually(t, fmt.Sprintf("at most %d bytes more are live", most), func() bool { return liveHeap()-before < most })
	runtime.KeepAlive(run)
}

func liveHeap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// TestLargeBodiesShareTheirRoom while they arrive: there are four of the largest at most, and small ones get through.
func TestLargeBodiesShareTheirRoom(t *testing.T) {
	r := newRunner(t)
	cfg := config(t, r, newSessions())
	cfg.MaxBody = 1 << 20
	w := serve(t, cfg)
	answers := make(chan string, 5)
	for range cap(answers) {
		conn := w.dial(fmt.Sprintf("POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", cfg.MaxBody))
		defer conn.Close()
		go func() {
			line, _ := bufio.NewReader(conn).ReadString('}') // the others are cut when the test ends
			answers <- line
		}()
		go func() { _, _ = io.WriteString(conn, strings.Repeat(" ", int(cfg.MaxBody)-1)) }()
	}
	if raw := <-answers; !strings.HasPrefix(raw, "HTTP/1.1 429") || !strings.Contains(raw, "too many large requests") {
		t.Errorf("%q", raw)
	}
	go func() { r.next().begin("s", 1) }()
	w.stream("POST", "/execute", minimal).cancel()
}

// TestBodiesOfManyValues: a body that is small as text is not large in memory, nor long to read.
func TestBodiesOfManyValues(t *testing.T) {
	const values, mib, most = 100_000, 1 << 20, 128 << 20 // 26 MiB, and what other tests leave to be done
	zeros := func(n int) string { return "[" + strings.Repeat("0,", n-1) + "0]" }
	whole := `{"x":` + zeros(values-2) + `}` // beside the object and the array
	for name, tc := range map[string]struct {
		body, refused string
	}{
		"as many as may be":            {whole, ""},
		"one more":                     {`{"x":` + zeros(values-1) + `}`, "more than 100000 values"},
		"as many as the body can hold": {`{"x":` + zeros(16<<20) + `}`, "more than 100000 values"},
		"below a long name":            {`{"` + strings.Repeat("x", mib/8) + `":` + zeros(values/10) + `}`, ""},
	} {
		before := allocated()
		_, err := httpapi.Parse([]byte(tc.body))
		if took := allocated() - before - int64(len(tc.body)); took > most {
			t.Errorf("%s: %d MiB allocated", name, took/mib)
		}
		if (err != nil) != (tc.refused != "") || err != nil && !strings.Contains(err.Error(), tc.refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// allocated is all that was allocated so far.
func allocated() int64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.TotalAlloc)
}

// TestReadersThatDoNotRead cost what is on the way to each of them, however much there is to read.
func TestReadersThatDoNotRead(t *testing.T) {
	const readers, each = 20, 2 << 20
	w, run, log, posted := busy(t, newSessions(), httpapi.Timing{}, 1)
	posted.cancel()
	before := liveHeap()
	for range readers {
		w.dial("GET /sessions/s/stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
	}
	text := strings.Repeat("x", 10_000)
	for range 5000 {
		say(t, log, text)
	}
	eventually(t, "at most 2 MiB are live for each", func() bool { return liveHeap()-before < readers*each })
	run.end(log, nil)
}
