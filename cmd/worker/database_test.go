package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const databaseToken = "dbtoken-CANARY-0123456789"

// clientsDatabase is a database of a client's own, which takes everything in its own time.
type clientsDatabase struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // method, path and status
	events   []string // IDs
}

func startDatabase(t *testing.T) *clientsDatabase {
	t.Helper()
	d := &clientsDatabase{}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

func (d *clientsDatabase) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	time.Sleep(300 * time.Millisecond) // longer than a worker takes to exit
	var said struct {
		Status string
		Events []struct{ ID string }
	}
	if json.Unmarshal(body, &said) != nil || r.Header.Get("Authorization") != "Bearer "+databaseToken {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = append(d.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+said.Status))
	for _, e := range said.Events {
		d.events = append(d.events, e.ID)
	}
}

// got is what the database has by now.
func (d *clientsDatabase) got() (requests, events []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.requests, d.events
}

func databaseOf(session string) map[string]any {
	return map[string]any{"sessionId": session, "accessToken": databaseToken}
}

func TestJobInTheClientsDatabase(t *testing.T) {
	db := startDatabase(t)
	base := with(env(t), "DB_BASE_URL", db.URL+"/v1")
	p := startWorker(t, base)
	s := p.post(script("echo "+databaseToken+"; seq 1 500", "websiteSessionId", "mine", "database", databaseOf("theirs")))
	s.completed()
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	var streamed []string
	for _, e := range s.events {
		streamed = append(streamed, fmt.Sprint(e["id"]))
	}
	requests, events := db.got()
	if diff := cmp.Diff(streamed, events); diff != "" {
		t.Errorf("events (-streamed +database):\n%s", diff)
	}
	if n := len(requests); n < 3 || requests[0] != "PATCH /v1/sessions/theirs active" || requests[n-1] != "PATCH /v1/sessions/theirs completed" {
		t.Errorf("requests: %v", requests)
	}
	for name, text := range map[string]string{"stream": s.raw.String(), "log": p.logs.String()} {
		if found := leaks([]byte(text), databaseToken); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
	searchStore(t, base["STORAGE_DIR"], databaseToken)
}

// TestJobWhoseDatabaseIsDead ends as every other job, and says it once.
func TestJobWhoseDatabaseIsDead(t *testing.T) {
	db := startDatabase(t)
	db.Close()
	p := startWorker(t, with(env(t), "DB_BASE_URL", db.URL, "STOP_GRACE", "1s"))
	s := p.post(script("sleep 0.5", "websiteSessionId", "mine", "database", map[string]any{"accessToken": databaseToken}))
	s.completed()
	said := 0
	for _, e := range s.events {
		if text, _ := e["message"].(string); strings.Contains(text, "the database has not taken") {
			said++
		}
	}
	if said != 1 {
		t.Errorf("it was said %d times:\n%s", said, s)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil { // what is left of its patience is the grace
		t.Fatal(err)
	}
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if lines := p.logs.String(); strings.Count(lines, "not delivered to the database") != 1 || strings.Contains(lines, databaseToken) {
		t.Errorf("log: %s", lines)
	}
	linesWith(t, p, map[string]string{"session": "mine", "request": s.header.Get("X-Request-Id")})
}
