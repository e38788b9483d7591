package view

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

func (v *View) completed(c event.Completed) {
	v.line("done", green, "in "+duration(time.Duration(c.DurationMS)*time.Millisecond))
	v.work(c.Branch, c.CommitHash, c.Pushed)
	if c.Usage != nil && *c.Usage != (event.Usage{}) {
		v.line("cost", plain, Cost(*c.Usage))
	}
	v.next(c.SessionID)
}

func (v *View) failed(f event.Failed) {
	text := f.Error
	if f.Code != "" {
		text = fmt.Sprintf("%s (%s)", text, f.Code)
	}
	v.line("failed", red, text)
	if f.RetryAfter > 0 {
		v.line("", plain, "again in "+duration(time.Duration(f.RetryAfter)*time.Second))
	}
	v.work(f.Branch, f.CommitHash, f.Pushed)
	v.next(f.SessionID)
}

// work tells where the changes are.
func (v *View) work(branch, hash string, pushed *bool) {
	if branch != "" {
		v.fact("branch", plain, branch)
	}
	switch {
	case hash != "" && pushed != nil && !*pushed:
		v.fact("commit", plain, hash+", not pushed: it is kept in the session and goes with the next push")
	case hash != "" && pushed != nil:
		v.fact("commit", plain, hash+", pushed")
	case hash != "":
		v.fact("commit", plain, hash)
	}
}

// pasteable is what is shown as part of a command: people copy it into their shells.
var pasteable = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// next tells how to go on.
func (v *View) next(session string) {
	if session == "" {
		session = v.session
	}
	if v.opts.Resume != "" && pasteable.MatchString(session) {
		v.fact("go on", dim, fmt.Sprintf(`%s %s "…"`, v.opts.Resume, session))
	}
}

// Cost tells what a run cost.
func Cost(u event.Usage) string {
	text := fmt.Sprintf("%s tokens in, %s out", thousands(u.InputTokens), thousands(u.OutputTokens))
	if u.CostUSD > 0 {
		text = fmt.Sprintf("$%.4f, ", u.CostUSD) + text
	}
	return text
}

// duration rounds to what people want to read.
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", math.Floor(d.Seconds()*10)/10)
	}
	seconds := int(d.Seconds())
	return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
}

// thousands groups the digits of a number.
func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	first := len(digits) % 3
	var groups []string
	if first > 0 {
		groups = append(groups, digits[:first])
	}
	for i := first; i < len(digits); i += 3 {
		groups = append(groups, digits[i:i+3])
	}
	return strings.Join(groups, ",")
}
