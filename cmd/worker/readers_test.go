package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const manyLines = 20000

// printLines is a job that prints numbered lines and some kilobytes around each thousandth.
var printLines = script(fmt.Sprintf(`i=0; while [ $i -lt %d ]; do i=$((i+1)); echo "line $i of the output, with words enough to fill the buffers of a socket"; done`, manyLines),
	"websiteSessionId", "readers")

func TestReadersOfEveryKind(t *testing.T) {
	base := env(t)
	p := startWorker(t, base)
	other := startWorker(t, with(base, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"]))
	posted := p.post(printLines)
	posted.until(ofType("connected"))
	stalled := stallReader(t, p)
	defer stalled.Close()
	p.follow("readers", "").body.Close() // one that leaves at once

	var wg sync.WaitGroup
	histories := make([][]string, 10)
	for i := range histories {
		wg.Go(func() { histories[i] = reconnecting(t, "readers", p, other) })
	}
	posted.completed()
	wg.Wait()

	var want []string
	for _, e := range posted.events {
		want = append(want, fmt.Sprint(e["id"]))
	}
	for i, id := range want {
		if id != fmt.Sprintf("1-%d", i+1) {
			t.Fatalf("event %d has the ID %s", i+1, id)
		}
	}
	for i, got := range histories {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("reader %d (-posted +read):\n%s", i, diff[:min(len(diff), 2000)])
		}
	}
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// stallReader opens the stream and never reads it.
func stallReader(t *testing.T, p *proc) net.Conn {
	t.Helper()
	addr := strings.TrimPrefix(p.URL, "http://")
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "GET /sessions/readers/stream HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// reconnecting follows a session, cutting its connection after a random number of events, and returns the IDs in order.
// It goes on at the next worker when one is gone.
func reconnecting(t *testing.T, session string, workers ...*proc) []string {
	var ids []string
	last := ""
	for range 1000 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, workers[0].URL+"/sessions/"+session+"/stream", nil)
		if err != nil {
			t.Error(err)
			return ids
		}
		req.Header.Set("Accept", "text/event-stream")
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil && len(workers) > 1 {
			workers = workers[1:]
			continue
		}
		if err != nil {
			t.Errorf("reconnect after %s: %v", last, err)
			return ids
		}
		s := &stream{t: t, body: res.Body, reader: bufio.NewReader(res.Body)}
		for range 500 + rand.IntN(4000) {
			e, ok := s.next()
			if !ok {
				break
			}
			last = fmt.Sprint(e["id"])
			ids = append(ids, last)
			if e["type"] == "completed" {
				res.Body.Close()
				return ids
			}
		}
		res.Body.Close()
	}
	t.Errorf("no end after 1000 connections")
	return ids
}

func TestClientThatLeavesCostsNothing(t *testing.T) {
	host, repoURL := startGit(t)
	p := startWorker(t, env(t))
	s := p.post(script("echo working; sleep 1; echo done > done.txt", "github", github(repoURL), "websiteSessionId", "left"))
	s.until(says("working"))
	s.body.Close()
	if code := p.exited(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if heads := git(t, host.Dir("acme/site"), "for-each-ref", "refs/heads/aicw"); !strings.Contains(heads, "aicw/") {
		t.Errorf("nothing was pushed: %s", heads)
	}
}

func TestFollowOnAnotherWorker(t *testing.T) {
	forEachStore(t, func(t *testing.T, base map[string]string) {
		runner := startWorker(t, base)
		other := startWorker(t, with(base, "WORKSPACE_DIR", env(t)["WORKSPACE_DIR"]))
		s := runner.post(script("echo one; sleep 3; echo two; sleep 1", "websiteSessionId", "far"))
		s.until(says("one"))
		begun := time.Now()
		far := other.follow("far", "")
		far.until(says("one"))
		if late := time.Since(begun); late > 5*time.Second {
			t.Errorf("the first line was seen after %v", late)
		}
		far.completed()
		s.completed()
		if diff := cmp.Diff(s.String(), far.String()); diff != "" {
			t.Errorf("streams differ (-here +elsewhere):\n%s", diff)
		}
	})
}

func TestHistoryAsJSON(t *testing.T) {
	base := env(t)
	s := startWorker(t, base).post(script("echo words", "websiteSessionId", "history"))
	s.completed()
	res, err := http.Get(startWorker(t, base).URL + "/sessions/history/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`"eventCount":%d`, len(s.events)); !strings.Contains(string(body), want) {
		t.Errorf("%s not in %s", want, body)
	}
}
