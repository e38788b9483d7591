package secret

import (
	"bytes"
	"io"
	"slices"
	"strings"
)

// minLength is the length below which a secret is not scrubbed: it would be found in ordinary text.
const minLength = 6

// Scrubber replaces secrets in text by "[redacted]", which has no character that JSON escapes. It knows a secret
// as it is, JSON-escaped (once and twice), URL-escaped, in hex, and in base64 at any offset. It does not know one
// that is encrypted, compressed, reversed or printed in pieces. Secrets under 6 bytes are ignored.
//
// A nil Scrubber scrubs nothing. A Scrubber never changes and is safe for concurrent use.
type Scrubber struct {
	byFirst [256][][]byte // the forms by their first byte
	longest int
}

// NewScrubber returns a Scrubber for the given secrets; white space around one does not count as part of it.
func NewScrubber(secrets ...String) *Scrubber {
	s := &Scrubber{}
	for _, one := range secrets {
		value := strings.TrimSpace(one.Reveal())
		if len(value) < minLength {
			continue
		}
		for _, form := range forms(value) {
			s.add([]byte(form))
		}
	}
	return s
}

func (s *Scrubber) add(form []byte) {
	known := s.byFirst[form[0]]
	if slices.ContainsFunc(known, func(k []byte) bool { return bytes.Equal(k, form) }) {
		return
	}
	s.byFirst[form[0]] = append(known, form)
	s.longest = max(s.longest, len(form))
}

// Longest returns the length in bytes of the longest text that is replaced; 0 if there is none. Whoever cuts a
// text must drop Longest()-1 bytes before the cut, where a secret may have begun.
func (s *Scrubber) Longest() int {
	if s == nil {
		return 0
	}
	return s.longest
}

// Bytes returns b without the secrets: b itself if it has none, else a new slice. b must be the whole text, as
// a secret is not recognised across two calls; see [Scrubber.Writer].
func (s *Scrubber) Bytes(b []byte) []byte {
	if s.Longest() == 0 {
		return b
	}
	out, _ := s.scrub(nil, b, true)
	if out == nil {
		return b
	}
	return out
}

// Text is Bytes for strings.
func (s *Scrubber) Text(t string) string {
	if s.Longest() == 0 {
		return t
	}
	out, _ := s.scrub(nil, []byte(t), true)
	if out == nil {
		return t
	}
	return string(out)
}

// scrub appends b without its secrets to dst. Without final, it stops at the first byte from which on a secret
// may go on beyond b, and returns what it has not dealt with as rest. It returns dst untouched and all of b as
// done only if nothing was replaced and dst is nil.
func (s *Scrubber) scrub(dst, b []byte, final bool) (out, rest []byte) {
	done := 0
	for i := 0; i < len(b); i++ {
		if s.byFirst[b[i]] == nil {
			continue
		}
		end, open := s.match(b, i)
		if open && !final {
			return append(dst, b[done:i]...), b[i:]
		}
		if end == i {
			continue
		}
		dst = append(append(dst, b[done:i]...), redacted...)
		done, i = end, end-1
	}
	if dst == nil && final {
		return nil, nil
	}
	return append(dst, b[done:]...), nil
}

// match returns where the secrets end that begin at i, together with those that overlap them; i if there is none.
// It is open when a form that begins there may go on beyond b.
func (s *Scrubber) match(b []byte, i int) (end int, open bool) {
	end = i
	for at := i; at == i || at < end; at++ {
		for _, form := range s.byFirst[b[at]] {
			switch rest := b[at:]; {
			case bytes.HasPrefix(rest, form):
				end = max(end, at+len(form))
			case len(rest) < len(form) && bytes.HasPrefix(form, rest):
				open = true
			}
		}
	}
	return end, open
}

// Writer returns a writer that scrubs what passes through it to w, also where a secret comes in several writes.
// It holds back the end of the text for as long as that may be the beginning of a secret; Close passes it on and
// does not close w. It is for one goroutine at a time. Write takes all of p, or reports w's error.
func (s *Scrubber) Writer(w io.Writer) io.WriteCloser { return &writer{scrubber: s, w: w} }

type writer struct {
	scrubber *Scrubber
	w        io.Writer
	held     []byte
}

func (w *writer) Write(p []byte) (int, error) {
	if w.scrubber.Longest() == 0 {
		return w.w.Write(p)
	}
	out, rest := w.scrubber.scrub(nil, append(w.held, p...), false)
	w.held = slices.Clone(rest)
	return len(p), w.pass(out)
}

func (w *writer) Close() error {
	held := w.held
	w.held = nil
	return w.pass(w.scrubber.Bytes(held))
}

func (w *writer) pass(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := w.w.Write(b)
	return err
}
