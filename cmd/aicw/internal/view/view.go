// Package view shows a job's events to a person, line by line as they come. What is not the worker's own word is cleaned
// before it is shown, see Clean.
package view

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// Options say where the events are shown.
type Options struct {
	Terminal bool   // progress rewrites its line; else it is told sparsely
	Width    int    // of the terminal, in columns; 0: 80
	Color    bool   // ANSI colours
	Resume   string // the command that goes on with a session, up to the session's ID
}

// View writes to one terminal or file. It is not safe for concurrent use.
type View struct {
	w        io.Writer
	opts     Options
	out      bytes.Buffer // what one call shows, written at once
	progress progress
	session  string
	subject  string // of the commit, once it is known
}

// New makes a view that writes to w.
func New(w io.Writer, opts Options) *View {
	if opts.Width <= 0 {
		opts.Width = 80
	}
	return &View{w: w, opts: opts}
}

// Event shows one event. The error is the writer's.
func (v *View) Event(e client.Event) error {
	switch body := e.Body().(type) {
	case event.Connected:
		v.connected(body)
	case event.Notice:
		v.line("worker", plain, body.Message)
	case event.PullProgress:
		v.pull(body.Data)
	case event.SessionName:
		v.fact("name", plain, body.SessionName)
	case event.BranchCreated:
		v.fact("branch", plain, body.BranchName+" from "+body.BaseBranch)
	case event.AssistantMessage:
		v.agent(body.Data)
	case event.CommitProgress:
		v.commit(body)
	case event.Completed:
		v.completed(body)
	case event.Failed:
		v.failed(body)
	default:
		v.line(e.Type, dim, shorten(string(e.Raw), 120))
	}
	return v.flush()
}

// Note shows a word of the program's own, between the events.
func (v *View) Note(format string, args ...any) error {
	v.line("", bold, fmt.Sprintf(format, args...))
	return v.flush()
}

func (v *View) connected(c event.Connected) {
	v.session = c.SessionID
	kind := "new"
	if c.Resuming {
		kind = "resumed"
	}
	v.fact("session", bold, fmt.Sprintf("%s (%s, %s)", c.SessionID, kind, c.Provider))
}

func (v *View) commit(c event.CommitProgress) {
	if c.CommitMessage != "" {
		v.subject, _, _ = strings.Cut(c.CommitMessage, "\n")
	}
	switch c.Stage {
	case event.StageGeneratingMessage, event.StageCommitting, event.StageCompleted: // the stages around them say the same
	case event.StageCommitted:
		v.fact("commit", plain, fmt.Sprintf("%.12s %s", c.CommitHash, v.subject))
	case event.StagePushFailed:
		v.line("push", red, c.Message+": "+c.Error)
	case event.StagePushing, event.StagePushed:
		v.line("push", plain, c.Message)
	default:
		v.line("commit", plain, c.Message)
	}
}

// labelWidth is that of the first column.
const labelWidth = 8

// maxLine is how much of one line is shown; some agents print whole files on one.
const maxLine = 2000

// line shows a text, line by line, beside its label. Both are cleaned here and nowhere else.
func (v *View) line(label string, s style, text string) {
	v.clearProgress()
	text = strings.TrimRight(Clean(text), "\n")
	label = CleanLine(label)
	for l := range strings.SplitSeq(text, "\n") {
		if shown := strings.TrimRight(shorten(l, maxLine), " \t"); shown == "" {
			v.out.WriteString("\n")
		} else {
			fmt.Fprintf(&v.out, "%s %s\n", v.paint(dim, pad(label)), v.paint(s, shown))
		}
		label = ""
	}
}

// fact is line for what has to stay on one line.
func (v *View) fact(label string, s style, text string) { v.line(label, s, CleanLine(text)) }

func pad(label string) string { return fmt.Sprintf("%-*s", labelWidth, label) }

func (v *View) flush() error {
	_, err := v.out.WriteTo(v.w)
	return err
}

// style is a colour's escape sequence.
type style string

const (
	plain style = ""
	bold  style = "\x1b[1m"
	dim   style = "\x1b[2m"
	red   style = "\x1b[31m"
	green style = "\x1b[32m"
	cyan  style = "\x1b[36m"
)

func (v *View) paint(s style, text string) string {
	if !v.opts.Color || s == plain || strings.TrimSpace(text) == "" {
		return text
	}
	return string(s) + text + "\x1b[0m"
}
