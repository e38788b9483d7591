package root_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document is one Markdown file, read for what the tests need of it.
type document struct {
	path     string
	lines    []string
	fences   []fence
	headings []heading
}

// fence is one fenced block: its language, its text and the line of the file on which the text begins, from 1.
type fence struct {
	language string
	text     string
	line     int
}

type heading struct {
	level int
	text  string
	line  int
}

// documents reads every Markdown file of the repository.
func documents(t *testing.T) []document {
	t.Helper()
	var docs []document
	for _, pattern := range []string{"*.md", "docs/*.md", "bench/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			docs = append(docs, readDocument(t, path))
		}
	}
	return docs
}

func readDocument(t *testing.T, path string) document {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := document{path: path, lines: strings.Split(string(raw), "\n")}
	d.parse()
	return d
}

func (d *document) parse() {
	var open *fence
	for i, line := range d.lines {
		mark, fenced := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fenced && open == nil:
			open = &fence{language: mark, line: i + 2}
		case fenced:
			d.fences = append(d.fences, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "#"):
			text := strings.TrimLeft(line, "#")
			d.headings = append(d.headings, heading{level: len(line) - len(text), text: strings.TrimSpace(text), line: i + 1})
		}
	}
}

// section is what stands below a heading, up to the next one of the same level or above.
func (d *document) section(t *testing.T, title string) []string {
	t.Helper()
	first, last := d.bounds(t, title)
	return d.lines[first:last]
}

// bounds are the lines of a heading and of its section's end, from 1.
func (d *document) bounds(t *testing.T, title string) (first, last int) {
	t.Helper()
	i := slices.IndexFunc(d.headings, func(h heading) bool { return h.text == title })
	if i < 0 {
		t.Fatalf("%s has no heading %q", d.path, title)
	}
	for _, next := range d.headings[i+1:] {
		if next.level <= d.headings[i].level {
			return d.headings[i].line, next.line - 1
		}
	}
	return d.headings[i].line, len(d.lines)
}

// table reads the rows of a section's first table, without its head.
func (d *document) table(t *testing.T, title string) [][]string {
	t.Helper()
	var rows [][]string
	for _, line := range d.section(t, title) {
		if !strings.HasPrefix(line, "|") {
			if len(rows) > 0 {
				break
			}
			continue
		}
		rows = append(rows, cells(line))
	}
	if len(rows) < 3 {
		t.Fatalf("%s: no table below %q", d.path, title)
	}
	return rows[2:]
}

func cells(row string) []string {
	var out []string
	for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(row), "|"), " |") {
		out = append(out, strings.TrimSpace(strings.TrimPrefix(cell, "|")))
	}
	return out
}

var backticked = regexp.MustCompile("`([^`]+)`")

// words are the texts in backticks.
func words(cell string) []string {
	var out []string
	for _, m := range backticked.FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}

// example is one JSON value of a document.
type example struct {
	doc  string
	line int
	raw  json.RawMessage
}

var curlBody = regexp.MustCompile(`(?s)-d '(.*?)'`)

// examples are the JSON values of a document: of its json, jsonl and text fences, and the bodies of its curl commands.
func (d *document) examples() []example {
	var out []example
	add := func(line int, text string) {
		out = append(out, example{doc: d.path, line: line, raw: json.RawMessage(text)})
	}
	for _, f := range d.fences {
		switch f.language {
		case "json":
			add(f.line, f.text)
		case "jsonl", "text":
			for i, line := range strings.Split(f.text, "\n") {
				data, framed := strings.CutPrefix(line, "data: ")
				if framed || f.language == "jsonl" && line != "" {
					add(f.line+i, data)
				}
			}
		case "bash":
			for _, m := range curlBody.FindAllStringSubmatchIndex(f.text, -1) {
				add(f.line+strings.Count(f.text[:m[2]], "\n"), f.text[m[2]:m[3]])
			}
		}
	}
	return out
}

var punctuation = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// anchors are the fragments by which a document's headings can be linked, as GitHub makes them.
func (d *document) anchors() []string {
	var out []string
	for _, h := range d.headings {
		slug := strings.ReplaceAll(punctuation.ReplaceAllString(strings.ToLower(h.text), ""), " ", "-")
		out = append(out, slug)
	}
	return out
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}
