package claudecode

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/internal/lines"
)

// conversation is one run of the CLI. Its lines are read by the goroutine that called Run; a second one ends the
// CLI when it is time, a third one writes to it.
type conversation struct {
	cfg   Config
	task  providers.Task
	child *agentproc.Process
	emit  func(providers.Message) error
	in    *lines.Writer

	seen    transcript
	tools   tools
	refusal error // the CLI did not take the initialize request

	ended  chan struct{} // closed at the result line, from which on the run's outcome stands
	ending sync.Once
}

func (c *conversation) run(ctx context.Context) (providers.Result, error) {
	exit, err := lines.Talk{
		Child: c.child, In: c.in, Interrupt: c.interrupt, Ended: c.ended, Grace: c.cfg.InterruptGrace, ExitGrace: c.cfg.ExitGrace,
	}.Run(ctx, c.line)
	if err == nil {
		err = c.failure(exit)
	}
	return c.seen.report(), err
}

func (c *conversation) interrupt() {
	if line, err := encode(interrupt()); err == nil { // what is sent here can be encoded
		c.in.Send(line)
	}
}

// failure is how a run ended that nobody cut short.
func (c *conversation) failure(exit error) error {
	switch {
	case c.seen.result != nil:
		return c.seen.failure(c.task, c.cfg.Now())
	case c.refusal != nil:
		return c.refusal
	case exit != nil:
		return fmt.Errorf("claude ended without a result: %w", exit)
	default:
		return errors.New("claude ended without a result")
	}
}

func (c *conversation) line(raw []byte) error {
	l := parseLine(raw)
	if l.isControl() {
		return c.control(l)
	}
	c.seen.add(l)
	m := providers.Message{Raw: agentproc.LineJSON(raw, false), Model: l.model(), ToolRuns: c.tools.add(l)}
	switch {
	case l.isInit():
		m.Kind, m.SessionID = providers.KindInit, l.SessionID
	case l.isResult():
		m.Kind = providers.KindResult
	}
	if err := c.emit(m); err != nil {
		return err
	}
	if l.isResult() {
		c.end()
	}
	return nil
}

// control handles the lines that are between CLI and worker. They are not the assistant's output (one of them tells whose
// account it is), so nobody else sees them.
func (c *conversation) control(l line) error {
	switch l.Type {
	case "control_request":
		reply, err := encode(answer(l.RequestID, l.Request.Subtype, permissionMode(c.task.Options), l.Request.Input))
		if err != nil {
			return err
		}
		c.in.Send(reply)
	case "control_response":
		if l.Response.RequestID == initializeID && l.Response.Subtype != "success" {
			c.refusal = fmt.Errorf("claude refused to begin: %s", l.Response.Error)
			c.end()
		}
	}
	return nil
}

// end says that nothing more is wanted of the CLI.
func (c *conversation) end() { c.ending.Do(func() { close(c.ended) }) }
