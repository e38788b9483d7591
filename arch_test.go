package root_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ai-coding-worker/ai-coding-worker/"

// floors gives each package its place; one below a listed package (gitops/internal/vault) belongs to that one.
// An import goes down, never up.
var floors = map[string]int{
	"cmd/worker": 5, "cmd/aicw": 5, "bench": 5,
	"internal/worker":  4,
	"internal/httpapi": 3, "internal/config": 3, "internal/client": 3, "internal/metrics": 3, "internal/tracing": 3,
	"orchestrator": 2, "providers/all": 2, "internal/database": 2,
	"gitops": 1, "storage": 1, "providers": 1,
	"providers/claudecode": 1, "providers/script": 1, "providers/providertest": 1,
	"internal/event": 0, "internal/eventlog": 0, "internal/snapshot": 0, "internal/agentproc": 0, "internal/secret": 0, "internal/localpeer": 0, "internal/sandbox": 0,
	"": 0, "internal/githost": 0, "internal/modeltest": 0, "internal/tooltest": 0,
}

// arrows are the imports allowed on one floor.
var arrows = map[string][]string{
	"internal/eventlog":      {"internal/event"},
	"internal/snapshot":      {"internal/agentproc"},
	"internal/agentproc":     {"internal/secret", "internal/sandbox"},
	"providers/claudecode":   {"providers"},
	"providers/script":       {"providers"},
	"providers/providertest": {"providers"},
}

// homes are the packages that may use a library, or what else should not be everywhere.
var homes = map[string][]string{
	"github.com/gin-gonic/gin":      {"internal/httpapi"},
	"github.com/rs/cors":            {"internal/httpapi"},
	"github.com/r3labs/sse":         {"internal/httpapi", "internal/client"},
	"github.com/minio/minio-go":     {"storage"},
	"github.com/go-git":             {"gitops"},
	"github.com/klauspost/compress": {"internal/snapshot"},
	"github.com/spf13/cobra":        {"cmd/aicw"},
	"github.com/cenkalti/backoff":   {"internal/database"},
	"github.com/prometheus":         {"internal/metrics"},
	"go.opentelemetry.io":           {"internal/tracing"},
	"golang.org/x/net/bpf":          {"internal/sandbox"},
	// agentproc starts children, so that each has its uid, its limits and its end. The exceptions are for tests, the demo and
	// measuring.
	"os/exec": {"internal/agentproc", "internal/githost", "internal/modeltest", "storage/storagetest", "bench"},
}

// environment is where the process's environment may be read: where processes begin, and where tests find their tools.
var environment = []string{"cmd", "bench", "internal/tooltest", "storage/storagetest"}

// pkg is what `go list -json` says about a package.
type pkg struct {
	ImportPath, Dir, Doc string
	GoFiles, Imports     []string
	TestGoFiles          []string
	XTestGoFiles         []string
}

// name is the package's path within the module; that of its root is empty.
func (p pkg) name() string {
	name, _ := ours(p.ImportPath)
	return name
}

// ours takes the module off an import path, and reports whether it was there.
func ours(path string) (name string, ok bool) {
	name, ok = strings.CutPrefix(path+"/", module)
	return strings.TrimSuffix(name, "/"), ok
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports,TestGoFiles,XTestGoFiles", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// within reports whether a path is one of the given ones, or below one.
func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") })
}

// resident returns the listed package that the given one is, or lies below.
func resident(name string) (string, bool) {
	for name != "." {
		if _, ok := floors[name]; ok {
			return name, true
		}
		name = filepath.Dir(name)
	}
	return "", false
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		from, ok := resident(p.name())
		if !ok {
			t.Errorf("%s has no floor: give it one in arch_test.go", p.name())
			continue
		}
		for _, path := range p.Imports {
			name, isOurs := ours(path)
			to, known := resident(name)
			switch {
			case !isOurs || !known || from == to:
			case floors[to] > floors[from]:
				t.Errorf("%s (floor %d) imports %s (floor %d): upwards", p.name(), floors[from], name, floors[to])
			case floors[to] == floors[from] && !slices.Contains(arrows[from], to):
				t.Errorf("%s imports %s beside it, and no arrow says so", p.name(), name)
			}
		}
	}
}

func TestLibrariesHaveOneHome(t *testing.T) {
	used := map[string]bool{}
	for _, p := range packages(t) {
		for _, path := range p.Imports {
			for library, where := range homes {
				if path != library && !strings.HasPrefix(path, library+"/") {
					continue
				}
				used[library] = true
				if !within(p.name(), where...) {
					t.Errorf("%s imports %s, whose home is %s", p.name(), path, strings.Join(where, ", "))
				}
			}
		}
	}
	for library := range homes {
		if !used[library] {
			t.Errorf("nothing imports %s: take it out of the list", library)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.name())
		}
	}
}

func TestNothingHappensBehindTheScenes(t *testing.T) {
	for _, p := range packages(t) {
		for _, file := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			where := p.name() + "/" + file
			if declaresInit(f) {
				t.Errorf("%s has an init function", where)
			}
			if !strings.HasSuffix(file, "_test.go") && !within(p.name(), environment...) && readsEnvironment(f) {
				t.Errorf("%s reads the environment: take what you need from the caller", where)
			}
		}
	}
}

func declaresInit(f *ast.File) bool {
	return slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && fn.Recv == nil && fn.Name.Name == "init"
	})
}

func readsEnvironment(f *ast.File) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := call.X.(*ast.Ident)
		found = found || ok && x.Name == "os" && slices.Contains([]string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"}, call.Sel.Name)
		return true
	})
	return found
}
