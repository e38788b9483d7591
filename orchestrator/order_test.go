package orchestrator_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/providertest"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// forgetful knows no conversation.
type forgetful struct{ *providertest.Scripted }

func (f *forgetful) Run(ctx context.Context, t providers.Task, emit func(providers.Message) error) (providers.Result, error) {
	if t.ResumeID != "" {
		return providers.Result{}, providers.ErrSessionNotFound
	}
	return f.Scripted.Run(ctx, t, emit)
}

func (f *forgetful) resumed() (ids []string) {
	for _, t := range f.Tasks() {
		ids = append(ids, t.ResumeID)
	}
	return ids
}

// TestSavePushRecordSay watches the order in which a job's end reaches the store, the host and the reader.
func TestSavePushRecordSay(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		if len(order) == 0 || order[len(order)-1] != what {
			order = append(order, what)
		}
	}
	w.store.Set(func(op storagetest.Op) storagetest.Outcome {
		pushed := len(w.branches()) > 0
		switch {
		case op.Name == "Put":
			note(map[bool]string{false: "snapshot", true: "snapshot after the push"}[pushed])
		case op.Name == "PutIf" && strings.HasSuffix(op.Key, ".session-metadata.json") && len(order) > 0:
			note(map[bool]string{false: "named", true: "ended"}[pushed])
		case op.Name == "PutIf" && pushed:
			note("pushed and told to the log")
		}
		return storagetest.Served
	})
	o := w.worker(nil)
	err := o.Run(t.Context(), w.job(says("x", "echo one > page.txt", nil)), func(s orchestrator.Started) {
		tail := s.Log.Tail(0)
		go func() {
			defer tail.Close()
			for {
				line, _, err := tail.Next(context.WithoutCancel(t.Context()))
				if err != nil {
					return
				}
				if event.Terminal(event.TypeOf(line)) {
					note("seen")
				}
			}
		}()
	})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	want := []string{"snapshot", "named", "pushed and told to the log", "ended", "seen"}
	for {
		mu.Lock()
		diff := cmp.Diff(want, order)
		mu.Unlock()
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("order (-want +got):\n%s", diff)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestAnotherProvider begins a conversation of its own. One that came to no save leaves the conversation before it as it was.
func TestAnotherProvider(t *testing.T) {
	w := newWorld(t)
	resumed := func(provider string) string {
		t.Helper()
		p := says("x", "echo more >> page.txt", nil)
		p.Name = provider
		w.mustRun(w.worker(nil), w.job(p))
		if len(p.Tasks()) != 1 {
			t.Fatalf("%s ran %d times", provider, len(p.Tasks()))
		}
		return p.Tasks()[0].ResumeID
	}
	resumed("one")
	stray := says("x", "true", nil)
	stray.Name = "two"
	job := w.job(stray)
	job.Repo.Token = secret.New("wrong")
	lines := w.mustRun(w.worker(nil), job)
	if last := lines[len(lines)-1]; !strings.Contains(last, `"git_auth_error"`) || len(stray.Tasks()) > 0 {
		t.Fatalf("the stray job ended with %s", last)
	}
	for i, want := range []struct{ provider, resumes string }{{"one", "talk-1"}, {"two", ""}, {"two", "talk-1"}, {"one", ""}} {
		if got := resumed(want.provider); got != want.resumes {
			t.Errorf("job %d, %s: resumed %q, want %q", i, want.provider, got, want.resumes)
		}
		if m, err := w.sessions().Metadata(t.Context(), "site"); err != nil || m.Provider != want.provider {
			t.Errorf("job %d: the session's provider is %s, %v", i, m.Provider, err)
		}
	}
}

// TestCauses cuts a job short while the agent works, and looks for the code and the work.
func TestCauses(t *testing.T) {
	for cause, code := range map[error]string{
		orchestrator.ErrAborted: "aborted", orchestrator.ErrTimeout: "timeout", orchestrator.ErrShutdown: "shutting_down",
	} {
		t.Run(code, func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			p := says("x", "true", nil)
			p.Block = make(chan struct{})
			work := providertest.Shell("echo half > page.txt")
			p.Edit = func(ctx context.Context, task providers.Task) error {
				defer cancel(cause)
				return work(ctx, task)
			}
			lines, err := w.run(ctx, w.worker(nil), w.job(p))
			if err != nil {
				t.Fatal(err)
			}
			if last := lines[len(lines)-1]; !strings.Contains(last, `"code":"`+code+`"`) || !strings.Contains(last, `"pushed":true`) {
				t.Errorf("the job ended with %s", last)
			}
			if got := w.git("log", "-1", "--format=%s", "aicw/add-a-page-site"); !strings.HasPrefix(got, "wip:") {
				t.Errorf("commit %q", got)
			}
		})
	}
}

// TestCutBeforeTheAgent ends a job while its clone hangs: there is nothing to save, and the session can be tried again.
func TestCutBeforeTheAgent(t *testing.T) {
	w := newWorld(t)
	hang := true
	w.host.Fail("git-upload-pack", hangFault())
	lines, err := w.run(t.Context(), w.worker(func(cfg *orchestrator.Config) { cfg.JobTimeout = time.Second }), w.job(says("x", "true", nil)))
	if err != nil {
		t.Fatal(err)
	}
	if last := lines[len(lines)-1]; !hang || !strings.Contains(last, `"code":"timeout"`) {
		t.Errorf("the job ended with %s", last)
	}
	w.host.Heal()
	lines = w.mustRun(w.worker(nil), w.job(says("x", "echo one > page.txt", nil)))
	if last := lines[len(lines)-1]; !strings.Contains(last, `"completed"`) {
		t.Errorf("the next job ended with %s", last)
	}
}

// TestReplaced lets another worker take the session while this one cannot reach the store.
func TestReplaced(t *testing.T) {
	w := newWorld(t)
	p := says("x", "echo late > page.txt", nil)
	taken := make(chan struct{})
	p.Block = taken
	go func() {
		defer close(taken)
		for len(p.Tasks()) == 0 {
			time.Sleep(time.Millisecond)
		}
		steal(t, w.store.Store)
	}()
	lines, err := w.run(t.Context(), w.worker(nil), w.job(p))
	if !errors.Is(err, storage.ErrReplaced) {
		t.Errorf("Run: %v, want ErrReplaced", err)
	}
	if last := lines[len(lines)-1]; strings.Contains(last, `"completed"`) || strings.Contains(last, `"error"`) {
		t.Errorf("a replaced worker said %s", last)
	}
	if got := w.branches(); len(got) > 0 {
		t.Errorf("a replaced worker pushed %v", got)
	}
	// Where workers share a disk, the successor's workspace is in the same place.
	look := providertest.Shell("test -d .git")
	if err := look(t.Context(), providers.Task{Agent: agenttest.Start(t), Dir: p.Tasks()[0].Dir, Home: "/"}); err != nil {
		t.Errorf("a replaced worker removed the session's workspace: %v", err)
	}
}

// steal moves the session's metadata as a worker does that takes it over.
func steal(t *testing.T, store storage.Store) {
	t.Helper()
	const key = "session-site/.session-metadata.json"
	r, info, err := store.Get(context.Background(), key)
	if err != nil {
		t.Error(err)
		return
	}
	data := readAll(t, r)
	data = strings.Replace(data, `"attempt":1,"lease":{"holder":"worker-1","attempt":1}`, `"attempt":2,"lease":{"holder":"thief","attempt":2}`, 1)
	if !strings.Contains(data, "thief") {
		t.Errorf("the metadata has another form: %s", data)
	}
	if _, err := store.PutIf(context.Background(), key, []byte(data), storage.IfVersion(info.Version)); err != nil {
		t.Error(err)
	}
}

// TestStartRefused leaves nothing behind.
func TestStartRefused(t *testing.T) {
	w := newWorld(t)
	o := w.worker(nil)
	job := w.job(says("x", "true", nil))
	job.MustExist = true
	if _, err := w.run(t.Context(), o, job); !errors.Is(err, storage.ErrNotFound) || orchestrator.CodeOf(err) != event.SessionNotFound {
		t.Errorf("an unknown session: %v", err)
	}
	job.MustExist = false
	w.mustRun(o, job)
	job.Repo.URL = strings.Replace(w.url, "site", "other", 1)
	_, err := w.run(t.Context(), o, job)
	if mismatch := new(orchestrator.RepoMismatchError); !errors.As(err, &mismatch) || orchestrator.CodeOf(err) != event.InvalidRequest {
		t.Errorf("another repository: %v", err)
	}
	holder := w.sessions()
	lease, err := holder.Acquire(t.Context(), "site", true, func(*storage.Metadata) error { return nil })
	if err != nil {
		t.Fatalf("the session is not free after a refusal: %v", err)
	}
	job.Repo.URL = w.url
	if _, err := w.run(t.Context(), o, job); !errors.Is(err, storage.ErrBusy) || orchestrator.CodeOf(err) != event.SessionBusy {
		t.Errorf("a held session: %v", err)
	}
	lease.Close()
}
