package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// TestCampaignFreezes stops workers, with all their children, at random points of a job until another one has taken the
// session over and has done a job of its own. Thawed, they must leave everything as it is.
func TestCampaignFreezes(t *testing.T) {
	t.Parallel()
	c := newCampaign(t, "freezes")
	base := minioEnv(t)
	t.Run("session", func(t *testing.T) {
		for number := range *campaignFreezes {
			t.Run(fmt.Sprint(number), func(t *testing.T) {
				t.Parallel()
				s := c.startSaga(t, number, base)
				if number%4 != 0 {
					s.recover() // so that there is something to restore
				}
				s.freeze(number)
				s.recover()
				s.ordered()
			})
		}
	})
	t.Log(c)
}

// freeze stops a worker in its job, lets another one do a job, and has the frozen one go on.
func (s *saga) freeze(turn int) {
	s.t.Helper()
	m, had := s.c.pace.moment(s.random, turn), s.look()
	slowest := s.clock()
	d := startDoomed(s.t, s.elsewhere(true), s.job(jobLines))
	job := fmt.Sprint(s.jobs)
	d.await(m)
	end := time.Now()
	processes := s.stop(d)
	late, hit := slowest(), d.hit()
	close(d.giveUp)
	s.c.count(func(t *tally) { t.faults++; t.hit[hit]++ })

	next := startWorker(s.t, s.elsewhere(true))
	was := s.look()
	if was.saved(was.m.Attempt) && was.m.Attempt > had.m.Attempt {
		s.kept = append(s.kept, job)
		s.c.count(func(t *tally) { t.jobsSaved++ })
	}
	s.c.count(func(t *tally) { t.ended++ })
	s.continued(was, s.resume(next))
	if code := next.exited(); code != 0 {
		s.t.Errorf("exit status %d of the successor", code)
	}
	s.t.Logf("frozen in %s (aimed at %s + %v), attempt %d, %d processes", hit, m.phase, m.after.Round(time.Millisecond), d.attempt(), len(processes))
	s.remembered(d.sightings(), end, late)
	s.thaw(d, job, processes, was.m.Attempt > had.m.Attempt)
}

// stop stops a worker and whatever it has started, and what that starts until it is stopped itself.
func (s *saga) stop(d *doomed) map[int]string {
	s.t.Helper()
	stopped := map[int]string{}
	for {
		fresh := 0
		for pid, start := range family(s.t, d.cmd.Process.Pid) {
			if stopped[pid] != start {
				stopped[pid] = start
				fresh++
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
		if fresh == 0 {
			return stopped
		}
	}
}

// thaw lets a frozen worker go on. One that had the session's lease must end without a trace; one that had not asked for
// it yet may take its turn.
func (s *saga) thaw(d *doomed, job string, processes map[int]string, held bool) {
	s.t.Helper()
	was := s.scene()
	signalAll(processes, syscall.SIGCONT)
	if !held {
		<-d.read
		if code := d.exited(); code != 0 {
			s.t.Errorf("exit status %d of a worker that was frozen before its job\n%s", code, d.logs)
		}
		s.kept = append(s.kept, job)
		s.tells(was.History)
		return
	}
	<-d.read
	if d.attempt() == 0 && d.status != http.StatusOK { // nothing was said: it is idle again
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
	}
	if code := d.exited(); code != 0 {
		s.t.Errorf("exit status %d of the frozen worker\n%s", code, d.logs)
	}
	gone(s.t, processes)
	if seen := d.sightings(); len(seen) > 0 && event.Terminal(event.TypeOf(seen[len(seen)-1].line)) {
		s.tells([][]byte{seen[len(seen)-1].line}) // said before the freeze
	}
	if diff := cmp.Diff(was, s.scene()); diff != "" {
		s.t.Errorf("the frozen worker has changed something (-before +after):\n%s", diff)
	}
}

// scene is all that a frozen worker could spoil.
type scene struct {
	Refs, Objects []string
	History       [][]byte
	Nonce         string
}

func (s *saga) scene() scene {
	s.t.Helper()
	m, _ := s.metadata()
	now := scene{History: s.history(), Nonce: m.Nonce, Refs: strings.Fields(s.git("for-each-ref", "--format=%(refname):%(objectname)"))}
	found, err := s.store.List(s.t.Context(), "session-"+s.id+"/", "", 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, object := range found {
		now.Objects = append(now.Objects, object.Key+" "+object.Version)
	}
	slices.Sort(now.Objects)
	return now
}
