// Package root_test holds the tests of the repository as a whole: that its documents say what the code does, and that
// its packages keep to their floors.
package root_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// bodies makes an empty body for each type of event.
var bodies = map[string]func() event.Body{
	event.TypeConnected:        func() event.Body { return &event.Connected{} },
	event.TypeMessage:          func() event.Body { return &event.Notice{} },
	event.TypePullProgress:     func() event.Body { return &event.PullProgress{} },
	event.TypeSessionName:      func() event.Body { return &event.SessionName{} },
	event.TypeBranchCreated:    func() event.Body { return &event.BranchCreated{} },
	event.TypeAssistantMessage: func() event.Body { return &event.AssistantMessage{} },
	event.TypeCommitProgress:   func() event.Body { return &event.CommitProgress{} },
	event.TypeCompleted:        func() event.Body { return &event.Completed{} },
	event.TypeError:            func() event.Body { return &event.Failed{} },
}

func TestEventExamplesAreWhatTheWorkerWrites(t *testing.T) {
	for _, e := range eventExamples(t) {
		body := decodeBody(t, e)
		var head struct {
			ID        string    `json:"id"`
			Timestamp time.Time `json:"timestamp"`
		}
		if err := json.Unmarshal(e.raw, &head); err != nil {
			t.Fatalf("%s:%d: %v", e.doc, e.line, err)
		}
		id, err := event.ParseID(head.ID)
		if err != nil {
			t.Errorf("%s:%d: %v", e.doc, e.line, err)
		}
		written, err := event.Event{ID: id, Time: head.Timestamp, Body: body}.MarshalJSON()
		if err != nil {
			t.Fatalf("%s:%d: %v", e.doc, e.line, err)
		}
		if diff := cmp.Diff(compact(t, e), string(written)); diff != "" {
			t.Errorf("%s:%d: the example and what the worker writes differ (-example +worker):\n%s", e.doc, e.line, diff)
		}
	}
}

func TestEveryEventTypeAndFieldHasAnExample(t *testing.T) {
	shown := make(map[string]map[string]bool)
	for _, e := range eventExamples(t) {
		kind := event.TypeOf(json.RawMessage(compact(t, e)))
		if shown[kind] == nil {
			shown[kind] = make(map[string]bool)
		}
		var fields map[string]any
		if err := json.Unmarshal(e.raw, &fields); err != nil {
			t.Fatal(err)
		}
		for _, path := range keyPaths("", fields) {
			shown[kind][path] = true
		}
	}
	kinds := constants(t, "internal/event", "", "Type")
	if diff := cmp.Diff(sorted(kinds), sorted(event.Types())); diff != "" {
		t.Errorf("constants and event.Types() (-constants +types):\n%s", diff)
	}
	for _, kind := range kinds {
		if bodies[kind] == nil {
			t.Errorf("this test knows no event %q", kind)
			continue
		}
		for _, path := range fieldPaths("", reflect.TypeOf(bodies[kind]()).Elem()) {
			if !shown[kind][path] {
				t.Errorf("API.md shows no example of %q in %s", path, kind)
			}
		}
		if !slices.Contains(readHeadings(t, "API.md"), kind) {
			t.Errorf("API.md has no heading %q", kind)
		}
	}
}

func TestCodesOfTheTableAreTheCodesOfTheWire(t *testing.T) {
	doc := readDocument(t, "API.md")
	var listed []string
	for _, row := range doc.table(t, "Codes") {
		listed = append(listed, words(row[0])...)
	}
	if diff := cmp.Diff(sorted(listed), sorted(constants(t, "internal/event", "Code", ""))); diff != "" {
		t.Errorf("codes of API.md and of internal/event (-API.md +code):\n%s", diff)
	}
}

func TestStagesOfTheTableAreTheStagesOfTheWire(t *testing.T) {
	doc := readDocument(t, "API.md")
	var listed []string
	for _, row := range doc.table(t, event.TypeCommitProgress) {
		listed = append(listed, words(row[0])...)
	}
	if diff := cmp.Diff(sorted(listed), sorted(constants(t, "internal/event", "", "Stage"))); diff != "" {
		t.Errorf("stages of API.md and of internal/event (-API.md +code):\n%s", diff)
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestRelativeLinksLeadSomewhere(t *testing.T) {
	for _, doc := range documents(t) {
		for i, line := range doc.lines {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if err := follow(t, doc, m[1]); err != nil {
					t.Errorf("%s:%d: %v", doc.path, i+1, err)
				}
			}
		}
	}
}

func follow(t *testing.T, from document, target string) error {
	t.Helper()
	if strings.Contains(target, "://") {
		return nil
	}
	path, fragment, _ := strings.Cut(target, "#")
	to := from.path
	if path != "" {
		to = filepath.Join(filepath.Dir(from.path), path)
	}
	if _, err := os.Stat(to); err != nil {
		return err
	}
	if fragment == "" || filepath.Ext(to) != ".md" {
		return nil
	}
	doc := readDocument(t, to)
	if !slices.Contains(doc.anchors(), fragment) {
		return fmt.Errorf("%s has no heading for #%s", to, fragment)
	}
	return nil
}

var (
	makeCall = regexp.MustCompile("(?m)(?:^|`|; |&& )make ([a-z][a-z0-9-]*)")
	makeRule = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
)

func TestMakeTargetsOfTheDocumentsExist(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, m := range makeRule.FindAllStringSubmatch(string(makefile), -1) {
		rules = append(rules, m[1])
	}
	mentioned := 0
	for _, doc := range documents(t) {
		for _, m := range makeCall.FindAllStringSubmatch(strings.Join(doc.lines, "\n"), -1) {
			mentioned++
			if !slices.Contains(rules, m[1]) {
				t.Errorf("%s names `make %s`, which the Makefile does not have", doc.path, m[1])
			}
		}
	}
	if mentioned == 0 {
		t.Error("no document names a target of the Makefile")
	}
}

var (
	aicwCall    = regexp.MustCompile("(?m)(?:^|`)aicw ([a-z]+)")
	aicwCommand = regexp.MustCompile("Use:\\s+[\"`]([a-z]+)")
)

func TestCommandsOfTheDocumentsExist(t *testing.T) {
	sources, err := filepath.Glob("cmd/aicw/*.go")
	if err != nil {
		t.Fatal(err)
	}
	commands := []string{"completion"} // the library's own
	for _, path := range sources {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range aicwCommand.FindAllStringSubmatch(string(source), -1) {
			commands = append(commands, m[1])
		}
	}
	for _, doc := range documents(t) {
		for _, m := range aicwCall.FindAllStringSubmatch(strings.Join(doc.lines, "\n"), -1) {
			if !slices.Contains(commands, m[1]) {
				t.Errorf("%s names `aicw %s`, which is no command", doc.path, m[1])
			}
		}
	}
	readme := readDocument(t, "README.md")
	for _, name := range commands {
		if name != "aicw" && !strings.Contains(strings.Join(readme.lines, "\n"), "`aicw "+name) {
			t.Errorf("README.md does not name `aicw %s`", name)
		}
	}
}

func TestProjectStructureOfReadmeIsThere(t *testing.T) {
	doc := readDocument(t, "README.md")
	first, last := doc.bounds(t, "Project structure")
	for _, f := range doc.fences {
		if f.line < first || f.line > last {
			continue
		}
		for line := range strings.Lines(f.text) {
			if _, err := os.Stat(strings.Fields(line)[0]); err != nil {
				t.Error(err)
			}
		}
	}
}

// eventExamples finds the events among the examples of all documents, those inside of answers included.
func eventExamples(t *testing.T) []example {
	t.Helper()
	var out []example
	for _, doc := range documents(t) {
		for _, e := range doc.examples() {
			if !json.Valid(e.raw) {
				t.Errorf("%s:%d: not JSON: %s", e.doc, e.line, e.raw)
				continue
			}
			out = append(out, eventsIn(e)...)
		}
	}
	if len(out) == 0 {
		t.Fatal("no document shows an event")
	}
	return out
}

func eventsIn(e example) []example {
	var fields map[string]json.RawMessage
	if json.Unmarshal(e.raw, &fields) != nil {
		return nil
	}
	if fields["type"] != nil && fields["id"] != nil && fields["timestamp"] != nil {
		return []example{e}
	}
	var nested []json.RawMessage
	if json.Unmarshal(fields["events"], &nested) != nil {
		return nil
	}
	var out []example
	for _, raw := range nested {
		out = append(out, eventsIn(example{doc: e.doc, line: e.line, raw: raw})...)
	}
	return out
}

// decodeBody reads an example's body, and fails where it has a field that the event does not.
func decodeBody(t *testing.T, e example) event.Body {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(e.raw, &fields); err != nil {
		t.Fatalf("%s:%d: %v", e.doc, e.line, err)
	}
	kind := event.TypeOf(json.RawMessage(compact(t, e)))
	if bodies[kind] == nil {
		t.Fatalf("%s:%d: no event is called %q", e.doc, e.line, kind)
	}
	for _, key := range []string{"type", "id", "timestamp"} {
		delete(fields, key)
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	body := bodies[kind]()
	dec := json.NewDecoder(bytes.NewReader(rest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(body); err != nil {
		t.Fatalf("%s:%d: %s: %v", e.doc, e.line, kind, err)
	}
	return body
}

func compact(t *testing.T, e example) string {
	t.Helper()
	var buf bytes.Buffer
	if err := json.Compact(&buf, e.raw); err != nil {
		t.Fatalf("%s:%d: %v", e.doc, e.line, err)
	}
	return buf.String()
}

// fieldPaths are the JSON names of a struct's fields, nested ones as "outer.inner".
func fieldPaths(prefix string, t reflect.Type) []string {
	var out []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out = append(out, prefix+name)
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			out = append(out, fieldPaths(prefix+name+".", inner)...)
		}
	}
	return out
}

func keyPaths(prefix string, fields map[string]any) []string {
	var out []string
	for key, value := range fields {
		out = append(out, prefix+key)
		if inner, ok := value.(map[string]any); ok {
			out = append(out, keyPaths(prefix+key+".", inner)...)
		}
	}
	return out
}

// constants are the values of a package's string constants of a type, or with a prefix.
func constants(t *testing.T, dir, typeName, prefix string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if ok && len(spec.Values) == 1 && named(spec.Type, typeName) && strings.HasPrefix(spec.Names[0].Name, prefix) {
				if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					value, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					out = append(out, value)
				}
			}
			return true
		})
	}
	if len(out) == 0 {
		t.Fatalf("no constants of type %q with prefix %q in %s", typeName, prefix, dir)
	}
	return out
}

func named(expr ast.Expr, name string) bool {
	if expr == nil {
		return name == ""
	}
	ident, ok := expr.(*ast.Ident)
	return ok && ident.Name == name
}

func readHeadings(t *testing.T, path string) []string {
	t.Helper()
	var out []string
	doc := readDocument(t, path)
	for _, h := range doc.headings {
		out = append(out, h.text)
	}
	return out
}
