package orchestrator

import (
	"errors"
	"slices"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// Observer hears how jobs go, for metrics and traces. It and its Watches are called in the job's own way: they return at
// once, and cannot make it fail. Nothing that they are told is secret.
type Observer interface {
	// Watch is called for a job that is about to be started. What it returns hears the rest of this job, one call at a time.
	Watch(JobInfo) Watch
}

// Watch hears of one job.
type Watch interface {
	Phase(Phase)           // a phase is over
	Said(eventType string) // an event was written
	Ended(End)             // the last call
}

// JobInfo is what is known of a job before it is started.
type JobInfo struct {
	SessionID string
	RequestID string
	Provider  string // canonical
	Begun     time.Time
}

// Phase is one phase of a job, from start to finish, that is over.
type Phase struct {
	Name     string
	Begun    time.Time
	Took     time.Duration
	Code     event.Code // of its failure; empty: it succeeded
	Restored int64      // bytes of the files that came from storage, before compression
	Saved    int64      // and that went there
}

// End is how a job ended.
type End struct {
	Outcome Outcome
	Code    event.Code // empty: it succeeded
	Attempt int        // 0: it was refused before it had one
	Took    time.Duration
	Usage   event.Usage // of this job
}

// Outcome is the kind of a job's end.
type Outcome string

// The outcomes of jobs.
const (
	JobCompleted Outcome = "completed"
	JobFailed    Outcome = "failed"   // its terminal event has the code
	JobRefused   Outcome = "refused"  // it could not be started; the answer has the code
	JobReplaced  Outcome = "replaced" // another worker has taken the session over; this one said nothing
)

// Phases are the names of all phases, in order.
func Phases() []string {
	return []string{"start", "restore", "clone", "assist", "commit", "save", "push", "finish"}
}

// Codes are all codes that CodeOf gives, sorted.
func Codes() []event.Code {
	all := []event.Code{event.InvalidRequest, event.BranchNotFound, event.InternalError}
	for _, row := range codes {
		all = append(all, row.code)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// codeOf is CodeOf for errors that may be none.
func codeOf(err error) event.Code {
	if err == nil {
		return ""
	}
	return CodeOf(err)
}

// watch begins to tell the observers of this job.
func (r *run) watch() {
	info := JobInfo{SessionID: r.id, RequestID: r.job.RequestID, Provider: r.job.Provider.Info().Name, Begun: r.begun}
	for _, o := range r.cfg.Observers {
		r.watches = append(r.watches, o.Watch(info))
	}
}

// observe runs a phase under the observers' eyes.
func (r *run) observe(name string, do func() error) error {
	p := Phase{Name: name, Begun: r.cfg.Now(), Restored: -r.restored, Saved: -r.stored}
	err := do()
	p.Took, p.Code = r.cfg.Now().Sub(p.Begun), codeOf(err)
	p.Restored += r.restored
	p.Saved += r.stored
	r.logger.Debug().Str("phase", name).Dur("took", p.Took).Str("failure", r.words(err)).Msg("phase ended")
	for _, w := range r.watches {
		w.Phase(p)
	}
	return err
}

// words are an error's as the worker's log may have them: they can be a git host's, or the agent's. There are none of nil.
func (r *run) words(err error) string {
	if err == nil {
		return ""
	}
	return r.scrub.Text(err.Error())
}

func (r *run) said(b event.Body) {
	for _, w := range r.watches {
		w.Said(b.Type())
	}
}

// ended tells the observers how the job ended; told is the failure that the client was told, or nil.
func (r *run) ended(outcome Outcome, told error) {
	e := End{Outcome: outcome, Code: codeOf(told), Took: r.cfg.Now().Sub(r.begun), Usage: usage(r.result.Usage)}
	if r.lease != nil {
		e.Attempt = r.lease.Attempt()
	}
	for _, w := range r.watches {
		w.Ended(e)
	}
}

// outcome is that of a job whose end has been recorded, or could not be.
func outcome(told, recorded error) Outcome {
	switch {
	case errors.Is(recorded, storage.ErrReplaced):
		return JobReplaced
	case told != nil:
		return JobFailed
	default:
		return JobCompleted
	}
}
