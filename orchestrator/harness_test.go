package orchestrator_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

func TestMain(m *testing.M) {
	agentproc.Dispatch(append(snapshot.Helpers(), gitops.Helpers()...)...)
	os.Exit(m.Run())
}

const token = "ghp_CANARYorchestrator0123"

// world is a git host, a store that can fail, and the workers that share them.
type world struct {
	t     *testing.T
	host  *githost.Host
	url   string
	store *storagetest.Faulty
	n     int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	host, err := githost.Start(githost.Config{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	url, err := host.Create("acme/site", map[string]string{"README.md": "# Site\n"})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, host: host, url: url, store: storagetest.NewFaulty(storagetest.NewMemory())}
}

// sessions is the store as a worker of its own sees it.
func (w *world) sessions() *storage.Sessions {
	w.n++
	return storage.NewSessions(storage.Config{
		Store: w.store, Holder: fmt.Sprintf("worker-%d", w.n), LeaseTTL: 20 * time.Second, Log: zerolog.Nop(),
	})
}

// worker is an orchestrator with an empty disk.
func (w *world) worker(change func(*orchestrator.Config)) *orchestrator.Orchestrator {
	w.t.Helper()
	state := w.t.TempDir()
	cfg := orchestrator.Config{
		Sessions:   w.sessions(),
		Git:        gitops.New(gitops.Config{StateDir: state, AllowHTTP: true, AllowedHosts: []string{"127.0.0.1"}, AuthorName: "A", AuthorEmail: "a@example.com"}),
		Snapshots:  snapshot.Tar{},
		Workspaces: agenttest.Dir(w.t), StateDir: state,
		Agents: func(ctx context.Context) (*agentproc.Agent, error) {
			return agentproc.Start(ctx, agentproc.Config{UID: agenttest.UID})
		},
		GitToken:     func(string) secret.String { return secret.String{} },
		BranchPrefix: "aicw", ContainerID: "box",
		SaveTimeout: 20 * time.Second, PushTimeout: 20 * time.Second, EndTimeout: 20 * time.Second,
		Now: time.Now, NewID: func() string { return "session-0123456789" }, Log: zerolog.Nop(),
	}
	if change != nil {
		change(&cfg)
	}
	return orchestrator.New(cfg)
}

// job is a request for the session "site" with the world's repository.
func (w *world) job(p providers.Provider) orchestrator.Job {
	return orchestrator.Job{
		SessionID: "site", Provider: p, ProviderName: "Scripted", AutoCommit: true,
		Prompt: providers.Prompt{Blocks: []providers.Block{{Text: "Add a page"}}},
		Repo:   &orchestrator.Repo{URL: w.url, Token: secret.New(token)},
	}
}

// run runs a job to its end and returns its events as lines; a reader that came at once has seen them.
func (w *world) run(ctx context.Context, o *orchestrator.Orchestrator, job orchestrator.Job) (lines []string, err error) {
	w.t.Helper()
	return w.runWith(ctx, o, job, func() {})
}

// runWith is run, and calls begun when the job has begun.
func (w *world) runWith(ctx context.Context, o *orchestrator.Orchestrator, job orchestrator.Job, begun func()) (lines []string, err error) {
	w.t.Helper()
	read := make(chan struct{})
	close(read)
	err = o.Run(ctx, job, func(s orchestrator.Started) {
		read = make(chan struct{})
		tail := s.Log.Tail(0)
		go func() {
			defer close(read)
			defer tail.Close()
			for {
				line, _, err := tail.Next(context.WithoutCancel(ctx))
				if err != nil {
					return
				}
				lines = append(lines, string(line))
			}
		}()
		begun()
	})
	<-read
	return lines, err
}

// mustRun is run, for a job that must begin.
func (w *world) mustRun(o *orchestrator.Orchestrator, job orchestrator.Job) []string {
	w.t.Helper()
	lines, err := w.run(w.t.Context(), o, job)
	if err != nil {
		w.t.Fatal(err)
	}
	return lines
}

// git runs git in the host's repository.
func (w *world) git(args ...string) string {
	w.t.Helper()
	out, err := w.host.Git("acme/site", args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// branches lists the sessions' branches on the host.
func (w *world) branches() []string {
	w.t.Helper()
	return strings.Fields(w.git("for-each-ref", "--format=%(refname:short)", "refs/heads/aicw"))
}

var volatile = []struct {
	form *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`"timestamp":"[^"]*"`), `"timestamp":"T"`},
	{regexp.MustCompile(`"duration_ms":\d+`), `"duration_ms":0`},
	{regexp.MustCompile(`\b[0-9a-f]{40}\b`), `HASH`},
	{regexp.MustCompile(`http://127\.0\.0\.1:\d+`), `http://HOST`},
	{regexp.MustCompile(`"percent":\d+`), `"percent":0`},
	{regexp.MustCompile(`: \d+ files`), `: N files`},
}

// steady takes out of events what differs from run to run: times, hashes, ports, and how often a clone tells its progress.
func steady(lines []string) string {
	var out strings.Builder
	n := 0
	for _, line := range lines {
		if strings.Contains(line, `"github_pull_progress"`) && !strings.Contains(line, `"completed"`) {
			continue
		}
		n++
		for _, v := range volatile {
			line = v.form.ReplaceAllString(line, v.to)
		}
		line = regexp.MustCompile(`"id":"(\d+)-\d+"`).ReplaceAllString(line, fmt.Sprintf(`"id":"$1-%d"`, n))
		out.WriteString(line + "\n")
	}
	return out.String()
}
