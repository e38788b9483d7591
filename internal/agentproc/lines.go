package agentproc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// MaxLine is how much of a line is read, in bytes. The rest of a longer one is dropped.
const MaxLine = 16 << 20

// keepLine is how much memory for long lines is kept from one line to the next.
const keepLine = 1 << 20

// cutMark ends a line that was cut. No JSON value ends like this, so a cut line is never taken for a whole one.
const cutMark = "…[truncated]"

// Lines reads the command's standard output to its end and calls emit with each line, in order and without its
// newline ("\n" or "\r\n"), scrubbed. The slice is emit's until it returns. A line over MaxLine is cut and then ends in
// "…[truncated]". A last line that has no newline counts. An error from emit ends the reading, closes the pipe (the
// command is not killed) and is returned. Lines is to be called once.
func (p *Process) Lines(emit func(line []byte) error) error {
	defer p.stdout.file.Close()
	var stopped error
	err := readLines(p.stdout, p.agent.cfg.Scrubber, func(line []byte) error {
		stopped = emit(line)
		return stopped
	})
	switch {
	case stopped != nil:
		return stopped
	case errors.Is(err, os.ErrClosed):
		return fmt.Errorf("read the lines of %s: they were read before", p.name)
	case err != nil:
		return fmt.Errorf("read the lines of %s: %w", p.name, err)
	}
	return nil
}

func readLines(r io.Reader, s *secret.Scrubber, emit func([]byte) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var line lineBuffer
	for {
		chunk, err := in.ReadSlice('\n')
		line.add(chunk)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err == nil || len(line.kept) > 0 {
			if err := emit(line.take(s)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lineBuffer collects one line, as far as it is kept.
type lineBuffer struct {
	kept []byte
	cut  bool
}

func (l *lineBuffer) add(chunk []byte) {
	end := bytes.HasSuffix(chunk, []byte("\n"))
	chunk = bytes.TrimSuffix(chunk, []byte("\n"))
	if room := MaxLine - len(l.kept); len(chunk) > room {
		chunk, l.cut = chunk[:room], true
	}
	l.kept = append(l.kept, chunk...)
	if end && !l.cut {
		l.kept = bytes.TrimSuffix(l.kept, []byte("\r"))
	}
}

// take returns the line and makes the buffer ready for the next one.
func (l *lineBuffer) take(s *secret.Scrubber) []byte {
	line := s.Bytes(l.kept)
	if l.cut {
		// Where it was cut a secret may have begun, which the scrubber could not recognise.
		drop := max(s.Longest()-1, len(cutMark), 0)
		line = append(line[:max(len(line)-drop, 0)], cutMark...)
	}
	l.cut = false
	l.kept = l.kept[:0]
	if cap(l.kept) > keepLine {
		l.kept = nil
	}
	return line
}

// LineJSON returns a line as JSON: a copy of it if it is one valid JSON value, else a JSON string of its Text, which
// a truncated line is always. Bytes that are not UTF-8 become U+FFFD. The result has no line break (SSE would take a
// carriage return for one).
func LineJSON(line []byte, truncated bool) json.RawMessage {
	line = bytes.ToValidUTF8(line, []byte(string(utf8.RuneError)))
	if !truncated && json.Valid(line) {
		return oneLine(line)
	}
	text, err := json.Marshal(Text(line))
	if err != nil { // a string can always be marshalled
		return json.RawMessage(`""`)
	}
	return text
}

// Text returns a line as text that takes at most MaxLine bytes as a JSON string, which for some characters is six times as
// long; the rest is cut, and the text then ends in "…[truncated]".
func Text(line []byte) string {
	const longest = len(`\u0000`)
	if len(line) <= MaxLine/longest {
		return string(line)
	}
	room := MaxLine - len(cutMark)
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRune(line[i:])
		takes := size
		if r < ' ' || strings.ContainsRune("\"\\<>&\x7f\u2028\u2029\ufffd", r) {
			takes = longest
		}
		if room -= takes; room < 0 {
			return string(line[:i]) + cutMark
		}
		i += size
	}
	return string(line)
}

// oneLine returns a copy of valid JSON without line breaks between its tokens; within a token there are none.
func oneLine(line []byte) json.RawMessage {
	if !bytes.ContainsAny(line, "\r\n") {
		return bytes.Clone(line)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, line); err != nil {
		return json.RawMessage(`null`)
	}
	return out.Bytes()
}
