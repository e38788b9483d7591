package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// sagaKills is how many workers one session loses, each between two jobs that end well.
const sagaKills = 3

// TestCampaignKills kills workers at random points of a job. Each session must be taken up by another worker with all that
// was saved, pushed, or said two seconds before.
func TestCampaignKills(t *testing.T) {
	t.Parallel()
	c := newCampaign(t, "kills")
	base := minioEnv(t)
	t.Run("session", func(t *testing.T) {
		for first := 0; first < *campaignKills; first += sagaKills {
			t.Run(fmt.Sprint(first), func(t *testing.T) {
				t.Parallel()
				s := c.startSaga(t, first, base)
				for turn := first; turn < min(first+sagaKills, *campaignKills); turn++ {
					s.crash(turn)
					s.recover()
				}
				s.ordered()
			})
		}
	})
	t.Log(c)
}

// TestCampaignCrashesInARow kills the worker that resumes the session of a killed one, too.
func TestCampaignCrashesInARow(t *testing.T) {
	t.Parallel()
	c := newCampaign(t, "crashes")
	base := minioEnv(t)
	t.Run("session", func(t *testing.T) {
		for number := range *campaignCrashes {
			t.Run(fmt.Sprint(number), func(t *testing.T) {
				t.Parallel()
				s := c.startSaga(t, number, base)
				s.crash(number)
				s.crash(number + 1)
				s.recover()
				s.ordered()
			})
		}
	})
	t.Log(c)
}

// crash lets a worker begin a job and kills it.
func (s *saga) crash(turn int) {
	s.t.Helper()
	m := s.c.pace.moment(s.random, turn)
	s.expired()
	slowest := s.clock()
	d := startDoomed(s.t, s.elsewhere(false), s.job(jobLines))
	d.await(m)
	end := s.kill(d)
	s.t.Logf("killed in %s (aimed at %s + %v), attempt %d", d.hit(), m.phase, m.after.Round(time.Millisecond), d.attempt())
	s.remembered(d.sightings(), end, slowest())
	s.mourn(d)
}

// kill ends a worker, and sees that nothing is left of it.
func (s *saga) kill(d *doomed) (end time.Time) {
	s.t.Helper()
	end = time.Now()
	_ = d.cmd.Process.Signal(syscall.SIGSTOP) // the look at its family takes longer than some phases
	processes := family(s.t, d.cmd.Process.Pid)
	d.kill()
	s.died = end
	gone(s.t, processes)
	<-d.read
	return end
}

// mourn takes down what a killed worker has left.
func (s *saga) mourn(d *doomed) {
	s.t.Helper()
	s.c.count(func(t *tally) { t.faults++; t.hit[d.hit()]++ })
	if s.look().saved(d.attempt()) {
		s.kept = append(s.kept, fmt.Sprint(s.jobs))
		s.c.count(func(t *tally) { t.jobsSaved++ })
	}
}

// expired waits until the lease of a killed worker may be taken over. The store's times are whole seconds.
func (s *saga) expired() {
	if !s.died.IsZero() {
		time.Sleep(time.Until(s.died.Add(leaseTTL + 2*time.Second)))
	}
}

// recover lets the session end well.
func (s *saga) recover() {
	s.t.Helper()
	p := startWorker(s.t, s.elsewhere(false))
	phases := watchPhases(p)
	was := s.look()
	s.c.count(func(t *tally) { t.ended++ })
	s.continued(was, s.resume(p))
	if code := p.exited(); code != 0 {
		s.t.Errorf("exit status %d", code)
	}
	s.c.pace.learn(phases.over())
}
