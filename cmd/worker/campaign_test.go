package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// How much the campaigns do; make soak asks for more.
var (
	campaignSeed    = flag.Uint64("seed", 0, "seed of the campaigns; 0: another one each time")
	campaignKills   = flag.Int("kills", 1, "how many workers are killed at random points of a job")
	campaignCrashes = flag.Int("crashes", 1, "how often two are killed in a row")
	campaignFreezes = flag.Int("freezes", 1, "how many are frozen until they have a successor")
	campaignOutages = flag.Int("outages", 1, "how often MinIO is killed at random points of a job")
)

// storedWithin is what clients are promised: an event that is older is in storage, if storage answers within promptly.
const (
	storedWithin = 2 * time.Second
	promptly     = 500 * time.Millisecond
)

const (
	leaseTTL = 2 * time.Second
	jobLines = 50                    // of a job that something happens to: it lasts for some three seconds
	lineTime = 55 * time.Millisecond // about
)

// campaign is many sessions that meet the same kind of fault, each at another point of a job.
type campaign struct {
	name string
	seed uint64
	host *githost.Host
	pace *pace

	mu    sync.Mutex
	tally tally
}

// tally is what a campaign has seen.
type tally struct {
	faults                   int
	ended, resumed           int            // sessions that another worker had to take up, and those that went on
	hit                      map[string]int // by phase
	jobsSaved, pushes        int            // that the faults left behind, and were looked for
	workLost, pushesLost     int
	events, unsaid, lateLost int           // seen by live readers; not stored; not stored though older than storedWithin
	oldest                   time.Duration // of those that were not stored
	slow                     int           // faults beside which storage was too slow for the promise
}

func newCampaign(t *testing.T, name string) *campaign {
	t.Helper()
	host, err := githost.Start(githost.Config{Token: gitToken})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	host.Fail("", githost.Fault{SlowBy: 5 * time.Millisecond}) // a clone and a push take as long as they do elsewhere
	c := &campaign{name: name, seed: *campaignSeed, host: host, pace: newPace(), tally: tally{hit: map[string]int{}}}
	if c.seed == 0 {
		c.seed = rand.Uint64()
	}
	t.Logf("%s: repeat by -seed %d", name, c.seed)
	return c
}

// random is the source of one session's choices, the same for the same seed.
func (c *campaign) random(session int) *rand.Rand {
	return rand.New(rand.NewPCG(c.seed, uint64(session)))
}

func (c *campaign) count(add func(*tally)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.tally)
}

// String is the campaign's result.
func (c *campaign) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var hit strings.Builder
	for _, phase := range append(orchestrator.Phases(), afterTheEnd) {
		fmt.Fprintf(&hit, " %s %d,", phase, c.tally.hit[phase])
	}
	return fmt.Sprintf(`%s, seed %d: %d faults
  hit in phase:    %s
  resumed:          %d of %d
  saved jobs:       %d of those that were hit, %d lost
  pushed commits:   %d before, %d lost
  events:           %d seen live, %d not stored (the oldest was %v old), %d of them older than %v (%d times storage took over %v to answer, which is not judged)`,
		c.name, c.seed, c.tally.faults, strings.TrimSuffix(hit.String(), ","), c.tally.resumed, c.tally.ended,
		c.tally.jobsSaved, c.tally.workLost, c.tally.pushes, c.tally.pushesLost,
		c.tally.events, c.tally.unsaid, c.tally.oldest.Round(time.Millisecond), c.tally.lateLost, storedWithin, c.tally.slow, promptly)
}

// moment is a point of a job at which something happens to it.
type moment struct {
	phase string        // that has begun; start: the request was sent
	after time.Duration // from then on
}

// pace is how long the phases of a job take here and now: as long as those of the last one that nothing happened to.
type pace struct {
	mu     sync.Mutex
	phases map[string]time.Duration
}

// newPace is a guess.
func newPace() *pace {
	return &pace{phases: map[string]time.Duration{
		"start": 50 * time.Millisecond, "restore": 100 * time.Millisecond, "clone": 500 * time.Millisecond,
		"commit": 50 * time.Millisecond, "save": 100 * time.Millisecond, "push": 300 * time.Millisecond, "finish": 50 * time.Millisecond,
	}}
}

// learn takes what a job took, but for the agent's time: that is another one in each.
func (p *pace) learn(took map[string]time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for phase := range p.phases {
		p.phases[phase] = took[phase]
	}
}

// moment chooses by turns a point of the whole job, in which most of the time is the agent's, and one of a phase.
func (p *pace) moment(random *rand.Rand, turn int) moment {
	p.mu.Lock()
	defer p.mu.Unlock()
	const assist = jobLines * lineTime
	if turn%2 == 0 {
		whole := assist
		for _, took := range p.phases {
			whole += took
		}
		return moment{phase: "start", after: time.Duration(random.Float64() * float64(whole))}
	}
	all := orchestrator.Phases()
	phase := all[random.IntN(len(all))]
	took := p.phases[phase]
	if phase == "assist" {
		took = assist
	}
	return moment{phase: phase, after: time.Duration(random.Float64() * float64(took))}
}
