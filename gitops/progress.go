package gitops

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Progress is how far a clone or a fetch has come.
type Progress struct {
	Percent int    // of the whole, 0 to 100; it never falls
	Message string // git's words, or ours
}

const (
	progressEvery = 250 * time.Millisecond // at most so often when something changes
	progressBeat  = 4                      // and every so many times in any case: a second
)

// meter passes progress on, not too often, and at least every second so that readers see life.
type meter struct {
	mu   sync.Mutex
	last Progress

	stopped chan struct{}
	done    chan struct{}
}

// startMeter reports a first message at once, and then until stop; a nil emit reports to nobody.
func startMeter(first string, emit func(Progress)) *meter {
	m := &meter{last: Progress{Message: first}, stopped: make(chan struct{}), done: make(chan struct{})}
	if emit == nil {
		emit = func(Progress) {}
	}
	emit(m.last)
	go m.run(m.last, emit)
	return m
}

func (m *meter) run(told Progress, emit func(Progress)) {
	defer close(m.done)
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for quiet := 0; ; {
		select {
		case <-m.stopped:
			return
		case <-ticker.C:
		}
		quiet++
		if now := m.read(); now != told || quiet >= progressBeat {
			emit(now)
			told, quiet = now, 0
		}
	}
}

func (m *meter) read() Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// stop returns when the last report has been taken; nothing is reported later.
func (m *meter) stop() {
	close(m.stopped)
	<-m.done
}

func (m *meter) set(percent int, message string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = Progress{Percent: max(percent, m.last.Percent), Message: message}
}

// spans are the parts of the whole that git's own percentages stand for. The host counts and compresses, the vault
// receives and resolves; what comes after 80 is the checkout's.
var spans = map[string][2]int{
	"Enumerating objects": {0, 1}, "Counting objects": {1, 5}, "Compressing objects": {5, 10},
	"Receiving objects": {10, 70}, "Resolving deltas": {70, 80},
}

// Write takes what git prints about its progress, from the host and from the vault.
func (m *meter) Write(p []byte) (int, error) {
	for _, line := range bytes.FieldsFunc(p, func(r rune) bool { return r == '\r' || r == '\n' }) {
		label, percent, ok := parseProgress(string(line))
		span, known := spans[label]
		if ok && known {
			m.set(span[0]+percent*(span[1]-span[0])/100, words(string(line)))
		}
	}
	return len(p), nil
}

// parseProgress reads a line as "Receiving objects:  12% (3/25), 1.2 MiB".
func parseProgress(line string) (label string, percent int, ok bool) {
	label, rest, found := strings.Cut(line, ":")
	number, _, isPercent := strings.Cut(rest, "%")
	if !found || !isPercent {
		return "", 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil || n < 0 || n > 100 {
		return "", 0, false
	}
	return strings.TrimSpace(strings.TrimPrefix(label, "remote:")), n, true
}

// words is a line of git's without the white space that it pads with.
func words(line string) string { return strings.Join(strings.Fields(clean(line)), " ") }
