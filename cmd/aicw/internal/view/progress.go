package view

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// progress is what was last told of a clone.
type progress struct {
	shown   bool   // the terminal's last line is ours to rewrite
	phase   string // the message without its figures
	percent int
}

// step is how far a clone must have come to be told of again where nothing can be rewritten.
const step = 25

// pull shows the progress of a clone or fetch.
func (v *View) pull(p event.PullData) {
	if p.Type == event.PullCompleted {
		v.fact("clone", plain, p.Message)
		v.progress = progress{}
		return
	}
	text := p.Message
	percent := -1
	if p.Percent != nil {
		percent = *p.Percent
		if percent > 0 && !strings.Contains(text, "%") {
			text = fmt.Sprintf("%s %d %%", text, percent)
		}
	}
	if v.opts.Terminal {
		v.rewrite(text)
		return
	}
	phase := strings.Map(withoutFigures, p.Message)
	if phase == v.progress.phase && (percent < 0 || percent < v.progress.percent+step) {
		return
	}
	v.progress.phase, v.progress.percent = phase, max(percent, 0)
	v.fact("clone", plain, text)
}

func withoutFigures(r rune) rune {
	if unicode.IsDigit(r) || r == '.' {
		return -1
	}
	return r
}

const clearLine = "\r\x1b[K"

// rewrite replaces the terminal's last line, never using its last column, where terminals wrap.
func (v *View) rewrite(text string) {
	room := max(v.opts.Width-labelWidth-2, 10)
	fmt.Fprintf(&v.out, "%s%s %s", clearLine, v.paint(dim, pad("clone")), shorten(CleanLine(text), room-1))
	v.progress.shown = true
}

// clearProgress gives the last line to what comes next.
func (v *View) clearProgress() {
	if v.progress.shown {
		v.out.WriteString(clearLine)
		v.progress.shown = false
	}
}
