package orchestrator_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// witness writes down what it is told of one job.
type witness struct {
	info   orchestrator.JobInfo
	phases []orchestrator.Phase
	said   []string
	ends   []orchestrator.End
}

func (w *witness) Watch(info orchestrator.JobInfo) orchestrator.Watch {
	w.info = info
	return w
}

func (w *witness) Phase(p orchestrator.Phase)  { w.phases = append(w.phases, p) }
func (w *witness) Said(eventType string)       { w.said = append(w.said, eventType) }
func (w *witness) Ended(end orchestrator.End)  { w.ends = append(w.ends, end) }
func (w *witness) into(c *orchestrator.Config) { c.Observers = []orchestrator.Observer{w} }

// names are the phases that it saw, those that failed with their codes.
func (w *witness) names() (names []string) {
	for _, p := range w.phases {
		name := p.Name
		if p.Code != "" {
			name += " " + string(p.Code)
		}
		names = append(names, name)
	}
	return names
}

func types(t *testing.T, lines []string) (types []string) {
	t.Helper()
	for _, line := range lines {
		types = append(types, event.TypeOf(json.RawMessage(line)))
	}
	return types
}

var noTimes = cmpopts.IgnoreFields(orchestrator.End{}, "Took")

func TestObserverSeesAWholeJob(t *testing.T) {
	w := newWorld(t)
	var first, second witness
	job := w.job(says("x", "echo one > page.txt", nil))
	job.RequestID = "request-1"
	lines := w.mustRun(w.worker(first.into), job)
	w.mustRun(w.worker(second.into), w.job(says("y", "echo two > page.txt", nil)))

	if diff := cmp.Diff(orchestrator.Phases(), first.names()); diff != "" {
		t.Errorf("phases (-all +seen):\n%s", diff)
	}
	if diff := cmp.Diff(types(t, lines), first.said); diff != "" {
		t.Errorf("events (-read +seen):\n%s", diff)
	}
	want := []orchestrator.End{{
		Outcome: orchestrator.JobCompleted, Attempt: 1, Usage: event.Usage{InputTokens: 7, OutputTokens: 3, CostUSD: 0.5},
	}}
	if diff := cmp.Diff(want, first.ends, noTimes); diff != "" {
		t.Errorf("end (-want +got):\n%s", diff)
	}
	if info := first.info; info.SessionID != "site" || info.RequestID != "request-1" || info.Provider != job.Provider.Info().Name || info.Begun.IsZero() {
		t.Errorf("job %+v", info)
	}
	saved, restored := int64(0), int64(0)
	for _, p := range first.phases {
		saved += p.Saved
		if p.Restored != 0 || p.Saved != 0 && p.Name != "save" || p.Begun.IsZero() || p.Took < 0 {
			t.Errorf("first job: %+v", p)
		}
	}
	for _, p := range second.phases {
		restored += p.Restored
	}
	if saved == 0 || saved != restored {
		t.Errorf("%d bytes saved, %d restored", saved, restored)
	}
}

func TestObserverSeesHowJobsFail(t *testing.T) {
	w := newWorld(t)
	end := func(job orchestrator.Job) (*witness, error) {
		var seen witness
		_, err := w.run(t.Context(), w.worker(seen.into), job)
		return &seen, err
	}
	missing := w.job(says("x", "true", nil))
	missing.MustExist = true
	refused, err := end(missing)
	if err == nil {
		t.Error("an unknown session was found")
	}
	mistyped := w.job(says("x", "true", nil))
	mistyped.Repo.Branch = "mian"
	failed, err := end(mistyped)
	if err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		seen   *witness
		phases []string
		end    orchestrator.End
	}{
		{refused, []string{"start session_not_found"}, orchestrator.End{Outcome: orchestrator.JobRefused, Code: event.SessionNotFound}},
		{failed, []string{"start", "restore", "clone branch_not_found", "commit", "save", "finish"}, orchestrator.End{Outcome: orchestrator.JobFailed, Code: event.BranchNotFound, Attempt: 1}},
	} {
		if diff := cmp.Diff(tt.phases, tt.seen.names()); diff != "" {
			t.Errorf("phases (-want +seen):\n%s", diff)
		}
		if diff := cmp.Diff([]orchestrator.End{tt.end}, tt.seen.ends, noTimes); diff != "" {
			t.Errorf("end (-want +got):\n%s", diff)
		}
	}
}

func TestObserverSeesAReplacement(t *testing.T) {
	w := newWorld(t)
	var seen witness
	p := says("x", "true", nil)
	taken := make(chan struct{})
	p.Block = taken
	go func() {
		defer close(taken)
		for len(p.Tasks()) == 0 {
			time.Sleep(time.Millisecond)
		}
		steal(t, w.store.Store)
	}()
	if _, err := w.run(t.Context(), w.worker(seen.into), w.job(p)); err == nil {
		t.Error("the job was not replaced")
	}
	want := []orchestrator.End{{Outcome: orchestrator.JobReplaced, Code: event.WorkerLost, Attempt: 1}}
	if diff := cmp.Diff(want, seen.ends, noTimes, cmpopts.IgnoreFields(orchestrator.End{}, "Usage")); diff != "" {
		t.Errorf("end (-want +got):\n%s", diff)
	}
}

// Every failure that has a code of its own is in the list.
func TestCodes(t *testing.T) {
	for _, code := range []event.Code{event.InvalidRequest, event.Timeout, event.Aborted, event.WorkerLost, event.InternalError, event.BranchNotFound} {
		found := 0
		for _, c := range orchestrator.Codes() {
			if c == code {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s is %d times among %v", code, found, orchestrator.Codes())
		}
	}
}
