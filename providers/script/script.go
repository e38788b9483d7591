// Package script runs a request's own words as a shell script in the checkout: mass edits without any model. Whoever can send
// a request can run anything as the agent, so a worker offers it only where that is wanted.
package script

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

const defaultGrace = 5 * time.Second

// Config is what a Provider needs; the zero value is good.
type Config struct {
	Grace time.Duration // between SIGTERM and SIGKILL when a run is cancelled; 5 s
}

// Provider runs shell scripts. It is stateless and safe for concurrent use.
type Provider struct {
	grace time.Duration
}

// New makes a Provider.
func New(cfg Config) *Provider {
	if cfg.Grace == 0 {
		cfg.Grace = defaultGrace
	}
	return &Provider{grace: cfg.Grace}
}

// Info implements providers.Provider. A script has nothing to resume and needs no credential.
func (*Provider) Info() providers.Info { return providers.Info{Name: "script"} }

// Check implements providers.Provider. Options for models are ignored, so that a request can be sent to another provider
// by its name alone.
func (*Provider) Check(t providers.Task) error {
	for _, block := range t.Prompt.Blocks {
		if block.MediaType != "" {
			return &providers.FieldError{Field: "userRequest", Reason: "a script has no use for images; send text alone"}
		}
	}
	if strings.TrimSpace(t.Prompt.Text()) == "" {
		return &providers.FieldError{Field: "userRequest", Reason: "the script is empty"}
	}
	return nil
}

// fromPipe runs the script that comes over standard input, of any length, with nothing on its own standard input and with
// its two outputs in one pipe, so that their lines stay in order.
const fromPipe = `exec /bin/sh /dev/fd/3 3<&0 </dev/null 2>&1`

// Run implements providers.Provider. Each line of output is a message {"type":"output","text":…}; the last message is
// {"type":"result","exitCode":…}, unless the run was cut short. A cancelled script gets SIGTERM, and SIGKILL after the grace.
func (p *Provider) Run(ctx context.Context, t providers.Task, emit func(providers.Message) error) (providers.Result, error) {
	if err := p.Check(t); err != nil {
		return providers.Result{}, err
	}
	scratch := path.Join(t.Home, "tmp")
	if err := t.Agent.Command("mkdir", "-p", "--", scratch).Run(ctx); err != nil {
		return providers.Result{}, fmt.Errorf("make the script's home: %w", err)
	}
	cmd := t.Agent.Command("/bin/sh", "-c", fromPipe)
	cmd.Dir = t.Dir
	cmd.Env = []string{"HOME=" + t.Home, "TMPDIR=" + scratch, "LANG=C.UTF-8", "GIT_TERMINAL_PROMPT=0"}
	child, err := cmd.Start(ctx)
	if err != nil {
		return providers.Result{}, err
	}
	r := &run{child: child, emit: emit, grace: p.grace, begun: time.Now()}
	return r.wait(ctx, t.Prompt.Text())
}

// run is one script under way.
type run struct {
	child *agentproc.Process
	emit  func(providers.Message) error
	grace time.Duration
	begun time.Time
	tail  tail
}

func (r *run) wait(ctx context.Context, script string) (providers.Result, error) {
	go r.feed(script)
	over, cut := make(chan struct{}), make(chan bool, 1)
	go func() { cut <- r.watch(ctx, over) }()
	linesErr := r.child.Lines(r.line)
	if linesErr != nil {
		r.child.Kill()
	}
	waitErr := r.child.Wait()
	close(over)
	switch wasCut := <-cut; {
	case linesErr != nil:
		return providers.Result{}, linesErr
	case wasCut:
		return providers.Result{}, context.Cause(ctx)
	default:
		return providers.Result{}, r.finish(waitErr)
	}
}

// feed hands over the script. A script that ends early leaves the rest unread, which is no failure.
func (r *run) feed(script string) {
	in := r.child.Stdin()
	defer in.Close()
	_, _ = in.Write([]byte(script + "\n"))
}

// watch stops the script when ctx ends, and reports whether it did. It returns when the script is gone.
func (r *run) watch(ctx context.Context, over <-chan struct{}) (cut bool) {
	select {
	case <-over:
		return ctx.Err() != nil
	case <-ctx.Done():
	}
	r.child.Terminate()
	timer := time.NewTimer(r.grace)
	defer timer.Stop()
	select {
	case <-over:
	case <-timer.C:
		r.child.Kill()
	}
	return true
}
