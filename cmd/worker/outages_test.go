package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// TestCampaignOutages kills MinIO at random points of a job and starts it again a moment later. A job that has begun
// goes on and loses nothing; one that is refused is taken by the same worker when it is sent again.
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

// outage lets a worker do a job while MinIO is away for up to three seconds of it. Each third worker is killed meanwhile.
func (s *saga) outage(turn int, server *storagetest.Server) {
	s.t.Helper()
	m, away, killed := s.c.pace.moment(s.random, turn), time.Duration(s.random.IntN(3000))*time.Millisecond, s.random.IntN(3) == 0
	d := startDoomed(s.t, s.elsewhere(false), s.job(jobLines))
	d.await(m)
	server.Stop(s.t)
	since, hit := time.Now(), d.hit()
	time.Sleep(away)
	if killed {
		s.kill(d)
	}
	server.Start(s.t)
	<-d.read
	s.t.Logf("MinIO killed in %s (aimed at %s + %v) for %v, attempt %d; the worker, too: %v", hit, m.phase, m.after.Round(time.Millisecond), away, d.attempt(), killed)
	if killed {
		s.remembered(d.sightings(), since, 0)
		s.mourn(d)
		return
	}
	s.c.count(func(t *tally) { t.faults++; t.hit[hit]++ })
	s.outlived(d)
}

// outlived checks that a job came to its end, and that nothing is lost of what it said.
func (s *saga) outlived(d *doomed) {
	s.t.Helper()
	seen := d.sightings()
	if len(seen) == 0 || event.TypeOf(seen[len(seen)-1].line) != event.TypeCompleted {
		s.t.Errorf("the job did not outlive the outage: status %d\n%s", d.status, d.logs)
	}
	s.kept = append(s.kept, fmt.Sprint(s.jobs))
	if code := d.exited(); code != 0 {
		s.t.Errorf("exit status %d", code)
	}
	s.remembered(seen, time.Now(), 0)
}
