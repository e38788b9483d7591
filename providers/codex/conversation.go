package codex

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/internal/lines"
)

// conversation is one run of the CLI. Its lines are read by the goroutine that called Run; a second one ends the CLI when it
// is time, a third one writes to it.
type conversation struct {
	cfg          Config
	task         providers.Task
	instructions string // the project's own
	child        *agentproc.Process
	emit         func(providers.Message) error
	in           *lines.Writer
	cancel       context.CancelCauseFunc

	mu               sync.Mutex
	threadID, turnID string // the run's own; the agents that it starts have others

	model    string
	tools    map[string]string   // items of a tool that runs, and the thread of each
	spent    map[string]spending // by thread
	summary  string
	retried  *failure    // why the last attempt was made again
	retrying *time.Timer // the run is given up when it fires; nil: the last attempt was not to try again
	failed   error       // the CLI did not take one of the requests
	finished *params     // the turn's end

	ended  chan struct{} // closed when it is known what the run came to
	ending sync.Once
}

// spending is a thread's usage.
type spending struct{ before, total usage } // before this run, and so far

// begin makes the first of the requests, each of which waits for the answer to the one before: while the login is being
// taken, nothing else is.
func (c *conversation) begin(l Credential) {
	for _, r := range append(initialize(), login(l)) {
		c.send(r)
	}
}

func (c *conversation) send(v any) {
	if encoded, err := encode(v); err == nil { // what is sent here can be encoded
		c.in.Send(encoded)
	}
}

func (c *conversation) run(ctx context.Context) (providers.Result, error) {
	exit, err := lines.Talk{
		Child: c.child, In: c.in, Interrupt: c.interrupt, Ended: c.ended, Grace: c.cfg.InterruptGrace, ExitGrace: c.cfg.ExitGrace,
	}.Run(ctx, c.line)
	if c.retrying != nil {
		c.retrying.Stop()
	}
	if err == nil {
		err = c.failure(exit)
	}
	return c.report(), err
}

// interrupt asks for the turn's end. Without a turn there is nothing to end, and nothing to wait for.
func (c *conversation) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turnID == "" {
		c.child.Kill()
		return
	}
	c.send(interrupt(c.threadID, c.turnID))
}

// end says that nothing more is wanted of the CLI.
func (c *conversation) end() { c.ending.Do(func() { close(c.ended) }) }

// line takes one line of the CLI. Its answers and requests are between it and the worker, so nobody else sees them.
func (c *conversation) line(raw []byte) error {
	l := parseLine(raw)
	switch {
	case len(l.ID) > 0 && l.Method != "":
		c.send(refusal(l.ID, l.Method))
		return nil
	case len(l.ID) > 0:
		c.answer(l)
		return nil
	}
	m := providers.Message{Raw: agentproc.LineJSON(raw, false)}
	c.notice(l, &m)
	if l.echoes() {
		return nil
	}
	if err := c.emit(m); err != nil {
		return err
	}
	if m.Kind == providers.KindResult {
		c.end()
	}
	return nil
}

// echoes tells of a notification that repeats the prompt, pictures included, or begins what comes whole a moment later.
func (l line) echoes() bool {
	switch l.Method {
	case "item/started":
		return l.Params.Item.Type == "userMessage" || l.Params.Item.Type == "agentMessage" || l.Params.Item.Type == "reasoning"
	case "item/completed":
		return l.Params.Item.Type == "userMessage"
	}
	return false
}

// answer goes on with the next request, or notes why there is none.
func (c *conversation) answer(l line) {
	id := 0
	if json.Unmarshal(l.ID, &id) != nil {
		return
	}
	if l.Error != nil {
		c.refused(id, l.Error.Message)
		return
	}
	switch id {
	case requestLogin:
		c.send(thread(c.task, c.instructions))
	case requestThread:
		c.model = l.Result.Model
		c.mu.Lock()
		c.threadID = l.Result.Thread.ID
		c.mu.Unlock()
		c.send(turn(l.Result.Thread.ID, c.task.Prompt))
	case requestTurn:
		c.began(l.Result.Turn.ID)
	}
}

func (c *conversation) refused(id int, words string) {
	if id == requestInterrupt {
		return // the turn was over already
	}
	c.failed = fmt.Errorf("codex refused to begin: %s", words)
	if id == requestLogin {
		c.failed = fmt.Errorf("%w: %s", providers.ErrAuth, words)
	}
	c.end()
}

func (c *conversation) began(turnID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnID = turnID
}

// notice takes from a notification what the run needs to know, and completes the message that it becomes. The agents that the
// assistant starts have threads of their own, whose notifications come, too.
func (c *conversation) notice(l line, m *providers.Message) {
	p := l.Params
	own := p.ThreadID == c.threadID
	switch l.Method {
	case "turn/started":
		if own {
			c.began(p.Turn.ID)
			m.Kind, m.SessionID, m.Model = providers.KindInit, p.ThreadID, c.model
		}
	case "item/started", "item/completed":
		c.item(l.Method == "item/started", p)
	case "thread/tokenUsage/updated":
		c.used(p)
	case "error":
		if own || p.ThreadID == "" { // how long an agent may try is for the assistant to decide, who waits for it or not
			c.trouble(p)
		}
	case "turn/completed":
		maps.DeleteFunc(c.tools, func(_, thread string) bool { return thread == p.ThreadID })
		if own {
			m.Kind, c.finished = providers.KindResult, &p
		}
	}
	m.ToolRuns = len(c.tools) > 0
}

func (c *conversation) item(begins bool, p params) {
	c.progress()
	switch p.Item.Type {
	case "agentMessage":
		if p.ThreadID == c.threadID {
			c.summary = p.Item.Text
		}
	case "userMessage", "reasoning", "plan":
	default:
		if begins {
			c.tools[p.Item.ID] = p.ThreadID
		} else {
			delete(c.tools, p.Item.ID)
		}
	}
}

// used notes a thread's usage. What is told of an earlier turn, at a resume, was before this run; another agent's thread is
// new, but can begin with a copy of the conversation and what that has used.
func (c *conversation) used(p params) {
	s, known := c.spent[p.ThreadID]
	switch own := p.ThreadID == c.threadID; {
	case own && p.TurnID != c.turnID:
		s.before = p.TokenUsage.Total
	case !own && !known:
		s.before = p.TokenUsage.Total.minus(p.TokenUsage.Last)
	}
	s.total = p.TokenUsage.Total
	c.spent[p.ThreadID] = s
}

// trouble lets the CLI try again, and gives the run up if it does nothing else for too long.
func (c *conversation) trouble(p params) {
	if !p.WillRetry || p.Error == nil {
		return
	}
	c.retried = p.Error
	if c.retrying == nil {
		given := fmt.Errorf("%w: %s", providers.ErrNetwork, p.Error.words())
		c.retrying = time.AfterFunc(c.cfg.RetryLimit, func() { c.cancel(given) })
	}
}

// progress is something else than another attempt.
func (c *conversation) progress() {
	c.retried = nil
	if c.retrying != nil {
		c.retrying.Stop()
		c.retrying = nil
	}
}

func (c *conversation) report() providers.Result {
	r := providers.Result{SessionID: c.threadID, Summary: c.summary}
	for _, s := range c.spent {
		used := s.total.minus(s.before)
		r.Usage.InputTokens += used.Input
		r.Usage.OutputTokens += used.Output
	}
	return r
}

// failure is how a run ended that nobody cut short.
func (c *conversation) failure(exit error) error {
	switch {
	case c.finished != nil:
		return c.finished.failure(c.task, c.retried)
	case c.failed != nil:
		return c.failed
	case exit != nil:
		return fmt.Errorf("codex ended in the middle of its turn: %w", exit)
	default:
		return errors.New("codex ended in the middle of its turn")
	}
}
