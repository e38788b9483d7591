package root_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/internal/metrics"
)

var (
	comment = regexp.MustCompile(`^# (HELP|TYPE) (aicw_\w+) (.*)$`)
	sample  = regexp.MustCompile(`^(aicw_\w+?)(?:_bucket|_sum|_count)?\{(.*)\} `)
	labels  = regexp.MustCompile(`(\w+)="`)
)

// metric is what a scrape says of one: its type, its meaning and its labels.
type metric struct {
	kind, help string
	labels     map[string]bool
}

// row is a metric's line in README's table.
func (m *metric) row(name string) string {
	delete(m.labels, "le") // of a histogram's buckets
	names := "`" + strings.Join(slices.Sorted(maps.Keys(m.labels)), "`, `") + "`"
	return "| `" + name + "` | " + m.kind + " | " + names + " | " + m.help + " |"
}

func scrapeMetrics(t *testing.T) map[string]*metric {
	t.Helper()
	handler := metrics.New(metrics.Config{Providers: []string{"p"}, States: httpapi.States(), Slot: func() string { return "" }}).Handler()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	all := make(map[string]*metric)
	of := func(name string) *metric {
		if all[name] == nil {
			all[name] = &metric{labels: make(map[string]bool)}
		}
		return all[name]
	}
	for line := range strings.Lines(w.Body.String()) {
		if c := comment.FindStringSubmatch(strings.TrimSpace(line)); c != nil {
			if c[1] == "HELP" {
				of(c[2]).help = c[3]
			} else {
				of(c[2]).kind = c[3]
			}
		}
		if s := sample.FindStringSubmatch(line); s != nil {
			for _, label := range labels.FindAllStringSubmatch(s[2], -1) {
				of(s[1]).labels[label[1]] = true
			}
		}
	}
	return all
}

// TestReadmeListsTheMetrics compares README's table with what a worker's registry tells a scrape.
func TestReadmeListsTheMetrics(t *testing.T) {
	var want []string
	for name, m := range scrapeMetrics(t) {
		want = append(want, m.row(name))
	}
	readme := readDocument(t, "README.md")
	var got []string
	for _, line := range readme.section(t, "Metrics") {
		if strings.HasPrefix(line, "| `aicw_") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" || len(want) < 5 {
		t.Errorf("README.md's table of metrics (-worker +README.md):\n%s", diff)
	}
}
