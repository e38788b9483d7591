package view

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text from elsewhere safe to show: an agent, a repository or a server must not drive the user's terminal.
// Escape sequences and control characters are left out, as are the characters that reorder or hide text; of the controls only
// newline and tab stay, a carriage return becomes a newline, and bytes that are not UTF-8 become U+FFFD.
func Clean(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for len(s) > 0 {
		if n := escape(s); n > 0 {
			s = s[n:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		if r == '\r' {
			r = '\n'
			if strings.HasPrefix(s[size:], "\n") {
				size++
			}
		}
		if r == '\n' || r == '\t' || !hostile(r) {
			b.WriteRune(r)
		}
		s = s[size:]
	}
	return b.String()
}

// CleanLine is Clean for what has to stay on one line: white space of any length becomes one space.
func CleanLine(s string) string { return strings.Join(strings.Fields(Clean(s)), " ") }

// hostile reports characters that do something instead of being seen.
func hostile(r rune) bool {
	switch {
	case unicode.IsControl(r): // C1 too: U+009B begins a sequence as ESC [ does
		return true
	case r == 0x061C, r == 0x200E, r == 0x200F, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069: // direction
		return true
	case r == 0x2028, r == 0x2029, r == 0xFEFF, r >= 0xE0000 && r <= 0xE007F: // separators, invisible tags
		return true
	}
	return false
}

const (
	esc = "\x1b"
	csi = "\u009b"
)

// escape is the length of the escape sequence that s begins with, 0 if it begins with none. Of one that does not end only the
// introducer counts, so that nobody hides the rest of a text behind it.
func escape(s string) int {
	if strings.HasPrefix(s, csi) {
		return len(csi) + controlSequence(s[len(csi):])
	}
	if !strings.HasPrefix(s, esc) {
		return 0
	}
	rest := s[len(esc):]
	if rest == "" {
		return len(esc)
	}
	switch rest[0] {
	case '[':
		return len(esc) + 1 + controlSequence(rest[1:])
	case ']', 'P', '_', '^', 'X':
		return len(esc) + 1 + controlString(rest[1:])
	}
	n := span(rest, 0x20, 0x2f)
	if n < len(rest) && rest[n] >= 0x30 && rest[n] <= 0x7e {
		return len(esc) + n + 1
	}
	return len(esc)
}

// controlSequence is the length of parameters, intermediates and the final byte; 0 if they are not all there.
func controlSequence(s string) int {
	n := span(s, 0x30, 0x3f)
	n += span(s[n:], 0x20, 0x2f)
	if n < len(s) && s[n] >= 0x40 && s[n] <= 0x7e {
		return n + 1
	}
	return 0
}

// controlString is the length of a title, a link or another string with its terminator, within one line; else 0.
func controlString(s string) int {
	for i := range len(s) {
		switch {
		case s[i] == '\a':
			return i + 1
		case strings.HasPrefix(s[i:], esc+`\`), strings.HasPrefix(s[i:], "\u009c"):
			return i + 2
		case s[i] == '\n':
			return 0
		}
	}
	return 0
}

// span counts the leading bytes of s between low and high.
func span(s string, low, high byte) int {
	n := 0
	for n < len(s) && s[n] >= low && s[n] <= high {
		n++
	}
	return n
}

// shorten cuts a text of more than limit characters and says so.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n++; n > limit {
			return s[:i] + "…"
		}
	}
	return s
}
