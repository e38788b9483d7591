package root_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
)

// row is a variable's line in README's table.
func row(v config.Variable) string {
	name, value := "`"+v.Name+"`", "–"
	if v.Alias != "" {
		name += " (`" + v.Alias + "`)"
	}
	if v.Default != "" {
		value = "`" + v.Default + "`"
	}
	return "| " + name + " | " + value + " | " + v.Doc + " |"
}

func TestReadmeListsTheVariables(t *testing.T) {
	want := []string{"| variable | default | meaning |", "|---|---|---|"}
	for _, v := range config.Variables() {
		want = append(want, row(v))
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(readme), want[0])
	if !found {
		t.Fatalf("README.md has no table of variables; this is it:\n%s", strings.Join(want, "\n"))
	}
	table, _, _ = strings.Cut(want[0]+table, "\n\n")
	if diff := cmp.Diff(want, strings.Split(table, "\n")); diff != "" {
		t.Errorf("README.md's table (-want +got):\n%s", diff)
	}
}

// .env.example has a line for every variable, set or commented out, in the table's order; its defaults are the real ones.
func TestEnvExampleHasTheVariables(t *testing.T) {
	file, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	values := map[string]string{}
	for line := range strings.SplitSeq(string(file), "\n") {
		assignment, commented := strings.CutPrefix(line, "#")
		name, value, ok := strings.Cut(assignment, "=")
		if !ok || strings.ContainsAny(name, " ") {
			continue
		}
		names = append(names, name)
		if commented {
			values[name] = value
		}
	}
	var want []string
	for _, v := range config.Variables() {
		want = append(want, v.Name)
		if value, ok := values[v.Name]; ok && value != v.Default && v.Default != "" {
			t.Errorf("%s=%s is commented out, but the default is %s", v.Name, value, v.Default)
		}
	}
	slices.Sort(want)
	slices.Sort(names)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf(".env.example (-want +got):\n%s", diff)
	}
}

// A copy of .env.example is a configuration that works.
func TestEnvExampleIsGood(t *testing.T) {
	file, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.SplitSeq(string(file), "\n") {
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			env[name] = value
		}
	}
	if _, err := config.Load(func(name string) string { return env[name] }); err != nil {
		t.Error(err)
	}
}
