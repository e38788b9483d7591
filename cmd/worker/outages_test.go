package main

import (
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// TestCampaignOutages kills MinIO at random points of a job and starts it again a moment later. What ran by then goes on
// and loses nothing; what did not run yet may end as storage_error, and the session resumes.
func TestCampaignOutages(t *testing.T) {
	t.Parallel()
	c := newCampaign(t, "outages")
	t.Run("session", func(t *testing.T) {
		for first := 0; first < *campaignOutages; first += sagaKills {
			t.Run(fmt.Sprint(first), func(t *testing.T) {
				t.Parallel()
				server, base := ownMinIO(t)
				s := c.startSaga(t, first, base)
				for turn := first; turn < min(first+sagaKills, *campaignOutages); turn++ {
					s.outage(turn, server)
					s.recover()
				}
				s.ordered()
			})
		}
	})
	t.Log(c)
}

// outage lets a worker do a job while MinIO is away for up to three seconds of it.
func (s *saga) outage(turn int, server *storagetest.Server) {
	s.t.Helper()
	m, away := s.c.pace.moment(s.random, turn), time.Duration(s.random.IntN(3000))*time.Millisecond
	d := startDoomed(s.t, s.elsewhere(false), s.job(jobLines))
	d.await(m)
	server.Stop(s.t)
	hit, _ := d.phase()
	s.c.count(func(t *tally) { t.faults++; t.hit[hit]++ })
	time.Sleep(away)
	server.Start(s.t)
	<-d.read
	s.t.Logf("MinIO killed in %s (aimed at %s + %v) for %v, attempt %d", hit, m.phase, m.after.Round(time.Millisecond), away, d.attempt())
	if d.status == http.StatusServiceUnavailable && hit == "start" { // refused: it is idle again
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
	} else if s.ends(d) == event.TypeCompleted {
		s.kept = append(s.kept, fmt.Sprint(s.jobs))
	} else if !slices.Contains([]string{"start", "restore"}, hit) {
		s.t.Errorf("a job that had begun did not outlive an outage of %v\n%s", away, d.logs)
	}
	if code := d.exited(); code != 0 {
		s.t.Errorf("exit status %d", code)
	}
	s.remembered(d.sightings(), time.Now())
}

// ends is how a job ended by its own account: completed, or an error which can only be storage_error.
func (s *saga) ends(d *doomed) string {
	s.t.Helper()
	seen := d.sightings()
	if len(seen) == 0 {
		s.t.Fatalf("the worker answered %d, and no event\n%s", d.status, d.logs)
	}
	last := seen[len(seen)-1].line
	if kind := event.TypeOf(last); kind == event.TypeCompleted {
		return kind
	}
	if !storageError.Match(last) {
		s.t.Errorf("the job ended with %s", last)
	}
	return event.TypeError
}
