package gitops

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func isLower(r rune) bool { return r >= 'a' && r <= 'z' }
func isDigit(r rune) bool { return r >= '0' && r <= '9' }

// spelledOut are letters that are no base letter with an accent.
var spelledOut = strings.NewReplacer(
	"ß", "ss", "ẞ", "ss", "æ", "ae", "Æ", "ae", "œ", "oe", "Œ", "oe", "ø", "o", "Ø", "o", "ł", "l", "Ł", "l",
)

// slugOf keeps a text's ASCII letters and digits, accents taken off, with single dashes between the words; it is cut
// between words where it can be.
func slugOf(text string, limit int) string {
	text = cutBytes(text, 8*limit)
	var b strings.Builder
	for _, r := range norm.NFKD.String(spelledOut.Replace(text)) {
		r = unicode.ToLower(r)
		switch {
		case isLower(r) || isDigit(r):
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r) || r == '\'' || r == '’':
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	slug := strings.Trim(b.String(), "-")
	if len(slug) <= limit {
		return slug
	}
	if i := strings.LastIndexByte(slug[:limit+1], '-'); i > limit/2 {
		return slug[:i]
	}
	return strings.Trim(slug[:limit], "-")
}

// clean makes a text safe to print: valid UTF-8, with no control or invisible formatting characters but line ends and
// tabs.
func clean(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r' || r == '\u2028' || r == '\u2029':
			return '\n'
		case unicode.IsControl(r) || isBidi(r):
			return -1
		}
		return r
	}, text)
}

// isBidi finds the characters that make a text look like another one.
func isBidi(r rune) bool {
	return r >= '\u202A' && r <= '\u202E' || r >= '\u2066' && r <= '\u2069' || r == '\u200B' || r == '\uFEFF'
}

// cutBytes shortens a text to at most limit bytes, between characters.
func cutBytes(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// cutWords shortens a line to at most limit characters, between words where it can be, and marks the cut.
func cutWords(line string, limit int) string {
	runes := []rune(line)
	if len(runes) <= limit {
		return line
	}
	cut := string(runes[:limit-1])
	if i := strings.LastIndexByte(cut, ' '); i > len(cut)/2 && runes[limit-1] != ' ' {
		cut = cut[:i]
	}
	return strings.TrimRightFunc(cut, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsPunct(r) }) + "…"
}
