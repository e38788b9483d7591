package root_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile("`(Test[A-Za-z]+)(?:/([^`]+))?`")
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// tests finds every test function of the module, with the package folder that it is in.
func tests(t *testing.T) map[string][]string {
	t.Helper()
	folders := make(map[string][]string)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(source, -1) {
			folders[string(m[1])] = append(folders[string(m[1])], filepath.Dir(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return folders
}

// names reports whether some test of a folder has a quoted text, as the name of a subtest or of a row.
func names(t *testing.T, folder, text string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(source, []byte(`"`+text+`"`)) {
			return true
		}
	}
	return false
}

// Every row of docs/security.md names a test that there is, and a control.
func TestAttemptsOfTheDocumentsAreTested(t *testing.T) {
	doc, known := readDocument(t, "docs/security.md"), tests(t)
	for _, h := range doc.headings[1:] {
		for _, row := range doc.table(t, h.text) {
			named := testName.FindAllStringSubmatch(row[2], -1)
			if len(named) == 0 || len(row) != 4 || row[3] == "" {
				t.Errorf("%s: no test or no control: %v", h.text, row)
			}
			for _, m := range append(named, testName.FindAllStringSubmatch(row[3], -1)...) {
				if len(known[m[1]]) == 0 {
					t.Errorf("there is no test %s", m[1])
				}
				if m[2] != "" && !slices.ContainsFunc(known[m[1]], func(folder string) bool { return names(t, folder, m[2]) }) {
					t.Errorf("%s has no row %q", m[1], m[2])
				}
			}
		}
	}
}
