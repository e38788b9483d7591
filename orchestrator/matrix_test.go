package orchestrator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/providertest"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
	"github.com/ai-coding-worker/ai-coding-worker/storage/storagetest"
)

// phases are those of a run, and what is happening when the end meets each: a phase begins where the one before has ended.
var phases = []string{"start", "restore", "clone", "assist", "commit", "save", "push", "finish"}

// ends are what can end a job. Those of the agent can meet it only while there is one.
var ends = []struct {
	name      string
	agentOnly bool
	meet      func(c *cell)
}{
	{"abort", false, func(c *cell) { c.cancel(orchestrator.ErrAborted) }},
	{"job timeout", false, func(c *cell) { c.cancel(orchestrator.ErrTimeout) }},
	{"shutdown", false, func(c *cell) { c.cancel(orchestrator.ErrShutdown) }},
	{"abort, then shutdown", false, func(c *cell) { c.cancel(orchestrator.ErrAborted); c.cancel(orchestrator.ErrShutdown) }},
	{"storage away", false, func(c *cell) { c.w.store.Set(storagetest.AllAway) }},
	{"storage hangs", false, func(c *cell) { c.w.store.Set(storagetest.AllHanging) }},
	{"git host away", false, func(c *cell) { c.w.host.Fail("", githost.Fault{Status: 503}) }},
	{"idle timeout", true, func(c *cell) { <-c.agentCut }},
	{"out of memory", true, func(c *cell) {
		c.agentErr = &agentproc.ExitError{Name: "claude", Code: -1, Signal: 9, OutOfMemory: true}
	}},
	{"the agent fails", true, func(c *cell) { c.agentErr = providers.ErrNetwork }},
}

// cell is one end in one phase: a job that resumes a session and is met by the end, and then a job that resumes it again.
type cell struct {
	w        *world
	phase    string
	meet     func(c *cell)
	cancel   context.CancelCauseFunc
	agentCut <-chan struct{} // closed when the agent's context ends
	agentErr error           // how the agent's run ends

	end    string // its name
	once   sync.Once
	marker string // of the agent's background process
}

// at is called when a phase begins.
func (c *cell) at(phase string) {
	if phase == c.phase {
		c.once.Do(func() { c.meet(c) })
	}
}

// Write reads the worker's log: a phase that has ended begins the next one.
func (c *cell) Write(line []byte) (int, error) {
	var entry struct{ Message, Phase string }
	if json.Unmarshal(line, &entry) == nil && entry.Message == "phase ended" {
		for i, name := range phases[:len(phases)-1] {
			if name == entry.Phase && name != "clone" { // the agent says itself when it has worked
				c.at(phases[i+1])
			}
		}
	}
	return len(line), nil
}

// meeting tells the cell that its job acquires the session.
type meeting struct {
	orchestrator.Sessions
	c *cell
}

func (m meeting) Acquire(ctx context.Context, id string, mustExist bool, init func(*storage.Metadata) error) (*storage.Lease, error) {
	m.c.at("start")
	return m.Sessions.Acquire(ctx, id, mustExist, init)
}

// TestEveryEndInEveryPhase compares what became of stream, branch, session and worker with testdata/matrix.md, and looks in
// each cell whether the session's next job brings everything to the branch that was ever done.
func TestEveryEndInEveryPhase(t *testing.T) {
	table := make([][]string, len(ends))
	t.Run("cells", func(t *testing.T) {
		for i, end := range ends {
			table[i] = make([]string, len(phases))
			for j, phase := range phases {
				if end.agentOnly && phase != "assist" {
					continue
				}
				t.Run(end.name+" in "+phase, func(t *testing.T) {
					t.Parallel()
					table[i][j] = newCell(t, phase, i, j).run(t)
				})
			}
		}
	})
	got := matrix(table)
	t.Logf("\n%s", got)
	compareGolden(t, filepath.Join("testdata", "matrix.md"), got)
}

func newCell(t *testing.T, phase string, row, column int) *cell {
	t.Helper()
	return &cell{
		w: newWorld(t), phase: phase, meet: ends[row].meet, end: ends[row].name,
		marker: fmt.Sprintf("47110%d%d.5", row, column),
	}
}

// run is the three jobs: one before, the one that is met, one after.
func (c *cell) run(t *testing.T) string {
	sessions := c.w.sessions()
	quick := func(cfg *orchestrator.Config) {
		cfg.Sessions, cfg.SaveTimeout = sessions, 2*time.Second
		if strings.HasPrefix(c.end, "storage") { // which is waited for as long as that
			cfg.PushTimeout, cfg.EndTimeout = 8*time.Second, 8*time.Second
		}
	}
	c.w.mustRun(c.w.worker(quick), c.w.job(says("before", "echo one > page.txt", nil)))

	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	c.cancel = cancel
	o := c.w.worker(func(cfg *orchestrator.Config) {
		quick(cfg)
		cfg.Sessions, cfg.Log = meeting{sessions, c}, zerolog.New(c)
		switch c.end {
		case "idle timeout":
			cfg.IdleTimeout = 300 * time.Millisecond
		case "storage hangs": // this store's requests have no limits of their own, as MinIO's have
			cfg.JobTimeout = 3 * time.Second
		}
	})
	p := says("met", "", nil)
	p.Edit = c.work
	lines, err := c.runMet(ctx, o, c.w.job(p))
	if left := processes(t, c.marker); left > 0 {
		t.Errorf("%d processes are left", left)
	}
	cell := c.describe(lines, err, len(p.Tasks()) > 0)

	c.w.store.Set(nil)
	c.w.host.Heal()
	after := c.w.mustRun(c.w.worker(quick), c.w.job(says("after", "echo next >> page.txt", nil)))
	if last := after[len(after)-1]; !strings.Contains(last, `"completed"`) || !strings.Contains(last, `"pushed":true`) {
		t.Errorf("the job after it ended with %s", last)
	}
	want := "one\nnext"
	if len(p.Tasks()) > 0 {
		want = "one\nhalf\nnext"
	}
	if got := c.w.git("show", "aicw/add-a-page-site:page.txt"); got != want {
		t.Errorf("after all there is %q on the branch, want %q", got, want)
	}
	return cell
}

// runMet also begins the phase restore, which follows the report that the job has begun.
func (c *cell) runMet(ctx context.Context, o *orchestrator.Orchestrator, job orchestrator.Job) ([]string, error) {
	return c.w.runWith(ctx, o, job, func() { c.at("restore") })
}

// work is the agent's: it edits, and leaves a process behind that wants to live on.
func (c *cell) work(ctx context.Context, task providers.Task) error {
	script := "echo half >> page.txt; setsid sleep " + c.marker + " >/dev/null 2>&1 &"
	if err := providertest.Shell(script)(ctx, task); err != nil {
		return err
	}
	c.agentCut = ctx.Done()
	c.at("assist")
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.agentErr
}

// describe is what a cell of the table says: the stream's end; the branch; the session; the worker.
func (c *cell) describe(lines []string, err error, worked bool) string {
	if len(lines) == 0 {
		return fmt.Sprintf("not begun: `%s`; the worker stays", orchestrator.CodeOf(err))
	}
	var last struct {
		Type, Code string
		Pushed     *bool
	}
	_ = json.Unmarshal([]byte(lines[len(lines)-1]), &last)
	said := last.Code
	if last.Type == "completed" {
		said = last.Type
	}
	words := []string{"`" + said + "`"}
	branch := c.w.git("show", "aicw/add-a-page-site:page.txt")
	switch {
	case strings.Contains(branch, "half") && strings.HasPrefix(c.w.git("log", "-1", "--format=%s", "aicw/add-a-page-site"), "wip:"):
		words = append(words, "on the branch as wip")
	case strings.Contains(branch, "half"):
		words = append(words, "on the branch")
	case worked:
		words = append(words, "in the session")
	default:
		words = append(words, "nothing done")
	}
	switch {
	case errors.Is(err, storage.ErrUnavailable):
		words = append(words, "end not stored")
	case err != nil:
		words = append(words, "fault of the worker: "+err.Error())
	}
	return strings.Join(words, ", ")
}

func processes(t *testing.T, mark string) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(mark)) {
			n++
		}
	}
	return n
}

// matrix renders the table: a row for each end, a column for each phase.
func matrix(table [][]string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "| end | %s |\n|---%s|\n", strings.Join(phases, " | "), strings.Repeat("|---", len(phases)))
	for i, row := range table {
		for j, text := range row {
			if text == "" {
				row[j] = "–"
			}
		}
		fmt.Fprintf(&out, "| %s | %s |\n", ends[i].name, strings.Join(row, " | "))
	}
	return out.String()
}
