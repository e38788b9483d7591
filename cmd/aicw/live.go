package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"github.com/ai-coding-worker/ai-coding-worker/cmd/aicw/internal/view"
	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// screen shows one job: as JSON lines, or to a person. It is safe for concurrent use.
type screen struct {
	mu      sync.Mutex
	view    *view.View // nil: JSON
	out     io.Writer
	notes   io.Writer
	escape  bool // out is a terminal
	session string
}

// newScreen makes the screen of one job; resume is the command that goes on with its session, if that can be told.
func (a *app) newScreen(resume string) *screen {
	s := &screen{out: a.stdout, notes: a.stderr}
	width := 0
	if f, ok := a.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.escape = true
		width, _, _ = term.GetSize(int(f.Fd()))
	}
	if !a.json {
		s.view = view.New(a.stdout, view.Options{
			Terminal: s.escape, Width: width, Color: s.escape && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb",
			Resume: resume,
		})
	}
	return s
}

// hint is a command that the user may want next, for the server in use.
func (a *app) hint(command string) string {
	if a.server == "" {
		return "aicw " + command
	}
	return "aicw --server " + a.server + " " + command
}

// event shows an event.
func (s *screen) event(e client.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := e.Body().(event.Connected); ok {
		s.session = c.SessionID
	}
	if s.view != nil {
		return s.view.Event(e)
	}
	line := string(e.Raw)
	if s.escape {
		line = escapeControls(line)
	}
	_, err := io.WriteString(s.out, line+"\n")
	return err
}

// note says a word of our own: between the events, or beside the JSON.
func (s *screen) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view != nil {
		_ = s.view.Note(format, args...)
		return
	}
	fmt.Fprintln(s.notes, "aicw:", view.CleanLine(fmt.Sprintf(format, args...)))
}

// known is the session's ID, once an event has told it.
func (s *screen) known() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}

// retry tells why nothing happens for a while.
func (s *screen) retry(r client.Retry) {
	if r.Reconnect {
		s.note("the stream was cut (%v); reconnecting", r.Err)
		return
	}
	s.note("%v; trying again in %.0f s", r.Err, max(1, r.Wait.Seconds()))
}

// escapeControls writes the controls that JSON leaves alone as JSON escapes, so that the same JSON cannot drive a terminal.
func escapeControls(line string) string {
	var b strings.Builder
	for _, r := range line {
		if r == 0x7f || r >= 0x80 && r <= 0x9f {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
