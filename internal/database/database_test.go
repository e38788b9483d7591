package database_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/database"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

func TestEventsArriveInOrderAndInBatches(t *testing.T) {
	f := startFake(t, nil)
	j := follow(t, f.URL+"/api/", "a b/c", hasty)
	j.say(1, 1)
	eventually(t, "the first event while the job runs", func() bool { return len(f.events()) == 1 })
	j.say(2, 3000)
	j.end(event.Completed{SessionID: "s"}, patience)

	if diff := cmp.Diff(j.written(), f.events()); diff != "" {
		t.Errorf("events (-log +database):\n%s", diff)
	}
	_, took := f.requests()
	first, last := took[0], took[len(took)-1]
	const session = "/api/sessions/a%20b%2Fc"
	if first.method != "PATCH" || first.path != session || first.status != "active" {
		t.Errorf("first request %+v", first)
	}
	if last.method != "PATCH" || last.path != session || last.status != "completed" {
		t.Errorf("last request %+v", last)
	}
	if len(took) > 300 {
		t.Errorf("%d requests for 3001 events", len(took))
	}
	for _, r := range took[1 : len(took)-1] {
		if r.method != "POST" || r.path != session+"/chunks" || len(r.events) == 0 || len(r.events) > 500 {
			t.Errorf("%s %s with %d events", r.method, r.path, len(r.events))
		}
	}
	if err := j.undelivered(); err != nil || j.lines.Len() > 0 {
		t.Errorf("undelivered: %v; log: %s", err, j.lines)
	}
}

func TestLargeEventsAreBatchesOfTheirOwn(t *testing.T) {
	f := startFake(t, nil)
	j := follow(t, f.URL, "s", hasty)
	for range 4 {
		if _, err := j.log.Append(event.Notice{Message: strings.Repeat("x", 600<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	j.end(event.Completed{}, patience)
	_, took := f.requests()
	for _, r := range took {
		if len(r.events) > 1 && len(r.events[0]) > 600<<10 {
			t.Errorf("a batch of %d large events", len(r.events))
		}
	}
	if got := len(f.events()); got != 5 {
		t.Errorf("%d events", got)
	}
}

func TestHowAJobEnded(t *testing.T) {
	f := startFake(t, nil)
	j := follow(t, f.URL, "s", hasty)
	j.end(event.Failed{Code: event.Timeout}, patience)
	if _, took := f.requests(); took[len(took)-1].status != "error" {
		t.Errorf("last request %+v", took[len(took)-1])
	}
}

// A worker that was replaced does not know how the job ended.
func TestAbandonedLogTellsNoEnd(t *testing.T) {
	f := startFake(t, nil)
	j := follow(t, f.URL, "s", hasty)
	j.say(1, 1)
	j.log.Abandon()
	j.close(patience)
	if _, took := f.requests(); took[len(took)-1].method != "POST" {
		t.Errorf("last request %+v", took[len(took)-1])
	}
}

// The database is away, in every way that passes, before each request that it takes.
func TestTriesAgain(t *testing.T) {
	away := map[string]func(http.ResponseWriter){
		"500": func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"429": func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) },
		"retry after": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"cut": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	}
	for name, answer := range away {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, func(w http.ResponseWriter, n int, _ []byte) bool {
				if n%2 == 0 {
					return false
				}
				answer(w)
				return true
			})
			j := follow(t, f.URL, "s", hasty)
			j.say(1, 100)
			j.end(event.Completed{}, patience)
			if diff := cmp.Diff(j.written(), f.events()); diff != "" {
				t.Errorf("events (-log +database):\n%s", diff)
			}
			if err := j.undelivered(); err != nil {
				t.Errorf("undelivered: %v", err)
			}
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	var asked [2]time.Time
	f := startFake(t, func(w http.ResponseWriter, n int, _ []byte) bool {
		if n <= len(asked) {
			asked[n-1] = time.Now()
		}
		w.Header().Set("Retry-After", "1")
		if n == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
		}
		return n == 1
	})
	j := follow(t, f.URL, "s", hasty)
	j.end(event.Completed{}, patience)
	if waited := asked[1].Sub(asked[0]); waited < time.Second {
		t.Errorf("asked again after %s", waited)
	}
}

// An answer that is lost makes events come twice, never none and never out of order.
func TestLostAnswers(t *testing.T) {
	f := startFake(t, nil)
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.ServeHTTP(httptest.NewRecorder(), r)
		if asked, _ := f.requests(); asked%2 == 1 {
			panic(http.ErrAbortHandler)
		}
	})
	j := follow(t, f.URL, "s", hasty)
	j.say(1, 100)
	j.end(event.Completed{}, patience)
	var once []string
	for _, e := range f.events() {
		if !slices.Contains(once, e) {
			once = append(once, e)
		}
	}
	if len(once) == len(f.events()) {
		t.Errorf("%d events: no answer was lost", len(once))
	}
	if diff := cmp.Diff(j.written(), once); diff != "" {
		t.Errorf("events, each the first time (-log +database):\n%s", diff)
	}
}

// The job goes on as if nothing were, and hears of it.
func TestDeadDatabase(t *testing.T) {
	f := startFake(t, nil)
	f.Close()
	j := follow(t, f.URL, "s", hasty)
	j.say(1, 2000)
	eventually(t, "a word about it", func() bool { return j.undelivered() != nil })
	want := "the database has not taken 2000 of this job's events so far: it cannot be reached"
	if got := j.undelivered().Error(); got != want {
		t.Errorf("undelivered: %s", got)
	}
	j.end(event.Completed{}, 50*time.Millisecond)
	logged(t, j, `"events":2001`)
	if lines := j.lines.String(); strings.Count(lines, "connection refused") != 2 || strings.Contains(lines, "/sessions/") {
		t.Errorf("the log does not say why it cannot be reached, or says too much: %s", lines)
	}
}

// logged expects one line about the outage and one about what it cost.
func logged(t *testing.T, j *job, lost string) {
	t.Helper()
	lines := j.lines.String()
	if strings.Count(lines, "does not take events") != 1 || strings.Count(lines, "not delivered to the database") != 1 || !strings.Contains(lines, lost) {
		t.Errorf("log: %s", lines)
	}
	if strings.Contains(lines, "CANARY") {
		t.Errorf("the token is in the log: %s", lines)
	}
}

func TestDatabaseThatNeverAnswers(t *testing.T) {
	over := make(chan struct{})
	f := startFake(t, func(http.ResponseWriter, int, []byte) bool { <-over; return true })
	t.Cleanup(func() { close(over) }) // before the server closes, which waits for its requests
	timing := hasty
	timing.Try = 20 * time.Millisecond
	j := follow(t, f.URL, "s", timing)
	j.say(1, 10)
	eventually(t, "a second try", func() bool { asked, _ := f.requests(); return asked > 1 })
	if err := j.undelivered(); err == nil {
		t.Error("nobody says that it hangs")
	}
	j.end(event.Completed{}, 50*time.Millisecond)
	logged(t, j, `"events":11`)
}

// Close does not wait for the answer to a request that is under way.
func TestCloseCutsARequest(t *testing.T) {
	over := make(chan struct{})
	f := startFake(t, func(http.ResponseWriter, int, []byte) bool { <-over; return true })
	t.Cleanup(func() { close(over) })
	timing := hasty
	timing.Try = time.Hour
	j := follow(t, f.URL, "s", timing)
	j.end(event.Completed{}, 50*time.Millisecond)
	if lines := j.lines.String(); !strings.Contains(lines, "not delivered to the database") {
		t.Errorf("log: %s", lines)
	}
}

func TestRefusalIsFinal(t *testing.T) {
	for _, status := range []int{401, 403, 404, 302} {
		elsewhere := startFake(t, nil)
		f := startFake(t, func(w http.ResponseWriter, _ int, _ []byte) bool {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
			return true
		})
		j := follow(t, f.URL, "s", hasty)
		j.say(1, 5)
		j.end(event.Completed{}, patience)
		if asked, _ := f.requests(); asked != 1 {
			t.Errorf("%d: asked %d times", status, asked)
		}
		if asked, _ := elsewhere.requests(); asked != 0 {
			t.Errorf("%d: the token went elsewhere", status)
		}
		want := "the database has not taken 6 of this job's events so far: it answered " + http.StatusText(status)
		if err := j.undelivered(); err == nil || strings.NewReplacer("401 ", "", "403 ", "", "404 ", "", "302 ", "").Replace(err.Error()) != want {
			t.Errorf("%d: %v", status, err)
		}
		logged(t, j, `"events":6`)
	}
}

// What is too large for the database is halved; only an event that is too large by itself is left out.
func TestTooLarge(t *testing.T) {
	f := startFake(t, func(w http.ResponseWriter, _ int, body []byte) bool {
		if len(body) <= 1000 {
			return false
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return true
	})
	j := follow(t, f.URL, "s", hasty)
	j.say(1, 50)
	if _, err := j.log.Append(event.Notice{Message: strings.Repeat("x", 2000)}); err != nil {
		t.Fatal(err)
	}
	j.say(52, 99)
	j.end(event.Completed{}, patience)
	want := slices.Delete(j.written(), 50, 51)
	if diff := cmp.Diff(want, f.events()); diff != "" {
		t.Errorf("events (-log +database):\n%s", diff)
	}
	err := j.undelivered()
	if err == nil || !strings.Contains(err.Error(), "1 of this job's events") || !strings.Contains(err.Error(), "413") {
		t.Errorf("undelivered: %v", err)
	}
	if _, took := f.requests(); took[len(took)-1].status != "completed" {
		t.Errorf("last request %+v", took[len(took)-1])
	}
}

// A slow database gets larger batches, and each of its requests is waited for.
func TestSlowDatabase(t *testing.T) {
	var at, most atomic.Int32
	f := startFake(t, func(http.ResponseWriter, int, []byte) bool {
		most.Store(max(most.Load(), at.Add(1)))
		time.Sleep(20 * time.Millisecond)
		at.Add(-1)
		return false
	})
	j := follow(t, f.URL, "s", hasty)
	j.say(1, 4000)
	j.end(event.Completed{}, patience)
	if diff := cmp.Diff(j.written(), f.events()); diff != "" {
		t.Errorf("events (-log +database):\n%s", diff)
	}
	if most.Load() != 1 {
		t.Errorf("%d requests at once", most.Load())
	}
}

func TestAddressThatIsNone(t *testing.T) {
	if _, err := database.New(database.Config{BaseURL: "http://[::1"}); err == nil || errors.Unwrap(err) == nil {
		t.Errorf("New() = %v", err)
	}
}
