package root_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// field is a property: whether it is always there, and what it is. Of a nested object it has the fields.
type field struct {
	always bool
	kind   string
	fields map[string]field
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

// fieldsOf is a Go struct as JSON has it.
func fieldsOf(t reflect.Type) map[string]field {
	fields := make(map[string]field)
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		typ := f.Type
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		described := field{always: !strings.Contains(options, "omitempty"), kind: kindOf(typ)}
		if described.kind == "object" {
			described.fields = fieldsOf(typ)
		}
		fields[name] = described
	}
	return fields
}

func kindOf(t reflect.Type) string {
	switch {
	case t == rawType:
		return "any"
	case t == timeType || t.Kind() == reflect.String:
		return "string"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Float64:
		return "number"
	case t.Kind() == reflect.Slice:
		return "array"
	case t.Kind() == reflect.Struct:
		return "object"
	default:
		return "integer"
	}
}

// schemaFields is an object's schema in the same form.
func (s *specification) schemaFields(t *testing.T, node any) map[string]field {
	t.Helper()
	schema := s.follow(t, node).(map[string]any)
	required, _ := schema["required"].([]any)
	fields := make(map[string]field)
	for name, property := range schema["properties"].(map[string]any) {
		inner := s.follow(t, property).(map[string]any)
		described := field{always: slices.Contains(required, any(name)), kind: "any"}
		if kind, ok := inner["type"].(string); ok {
			described.kind = kind
		}
		if described.kind == "object" {
			described.fields = s.schemaFields(t, inner)
		}
		fields[name] = described
	}
	return fields
}

func TestOpenAPIHasTheTypes(t *testing.T) {
	spec := readSpecification(t)
	same := func(schema string, want map[string]field) {
		t.Helper()
		got := spec.schemaFields(t, spec.at(t, "components", "schemas", schema))
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(field{})); diff != "" {
			t.Errorf("%s (-Go +openapi.yaml):\n%s", schema, diff)
		}
	}
	for kind, body := range bodies {
		want := fieldsOf(reflect.TypeOf(body()).Elem())
		for _, head := range []string{"type", "id", "timestamp"} {
			want[head] = field{always: true, kind: "string"}
		}
		ref := spec.at(t, "components", "schemas", "Event", "discriminator", "mapping", kind).(string)
		schema := strings.TrimPrefix(ref, "#/components/schemas/")
		same(schema, want)
		if told := spec.at(t, "components", "schemas", schema, "properties", "type", "const"); told != kind {
			t.Errorf("%s is of the type %v, want %s", schema, told, kind)
		}
	}
	session := fieldsOf(reflect.TypeFor[storage.Metadata]())
	for _, inner := range []string{"nonce", "takenFrom", "closedThrough"} {
		if _, ok := session[inner]; !ok {
			t.Errorf("metadata have no %s", inner)
		}
		delete(session, inner)
	}
	session["storage"], session["eventCount"] = field{kind: "string"}, field{kind: "integer"}
	same("Session", session)
	same("SessionRepository", fieldsOf(reflect.TypeFor[storage.GitHub]()))
	same("Lease", fieldsOf(reflect.TypeFor[storage.Holding]()))
	same("Snapshot", fieldsOf(reflect.TypeFor[snapshot.Ref]()))
	same("Usage", fieldsOf(reflect.TypeFor[event.Usage]()))
}

func TestOpenAPIHasTheWords(t *testing.T) {
	spec := readSpecification(t)
	codes := constants(t, "internal/event", "Code", "")
	for _, tt := range []struct {
		path string
		want []string
	}{
		{"Event/discriminator/mapping", event.Types()},
		{"ErrorEvent/properties/code/enum", codes},
		{"Error/properties/error/enum", append(codes, "not_found", "method_not_allowed", "forbidden", "unauthorized")},
		{"CommitProgressEvent/properties/stage/enum", constants(t, "internal/event", "", "Stage")},
		{"PullProgressEvent/properties/data/properties/type/enum", constants(t, "internal/event", "", "Pull")},
		{"WorkerState/enum", httpapi.States()},
		{"Session/properties/status/enum", constants(t, "storage", "Status", "Status")},
		{"Abort/properties/status/enum", constants(t, "internal/httpapi", "", "abort")},
		{"ExecuteRequest/properties", namesIn(t, "topLevel")},
		{"Repository/properties", namesIn(t, "repo")},
		{"ProviderOptions/properties", namesIn(t, "options")},
		{"Database/properties", namesIn(t, "database")},
	} {
		got := wordsAt(t, spec.at(t, append([]string{"components", "schemas"}, strings.Split(tt.path, "/")...)...))
		if diff := cmp.Diff(sorted(tt.want), sorted(got)); diff != "" {
			t.Errorf("%s (-code +openapi.yaml):\n%s", tt.path, diff)
		}
	}
}

// wordsAt are the elements of a list, or the keys of an object.
func wordsAt(t *testing.T, node any) (found []string) {
	t.Helper()
	switch v := node.(type) {
	case map[string]any:
		return slices.Collect(maps.Keys(v))
	case []any:
		for _, word := range v {
			found = append(found, word.(string))
		}
	}
	return found
}

// namesIn are the fields that the decoder of requests knows: the strings of a variable, or those that a function's call of
// only allows.
func namesIn(t *testing.T, declaration string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob("internal/httpapi/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch d := n.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == declaration {
					ast.Inspect(d, func(n ast.Node) bool {
						call, ok := n.(*ast.CallExpr)
						if ok && isOnly(call) {
							names = append(names, literals(t, call.Args)...)
						}
						return true
					})
				}
				return false
			case *ast.ValueSpec:
				if list, ok := firstValue(d).(*ast.CompositeLit); ok && d.Names[0].Name == declaration {
					names = append(names, literals(t, list.Elts)...)
				}
			}
			return true
		})
	}
	if len(names) == 0 {
		t.Errorf("internal/httpapi names no fields in %s", declaration)
	}
	return names
}

func isOnly(call *ast.CallExpr) bool {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	return ok && selector.Sel.Name == "only"
}

func firstValue(spec *ast.ValueSpec) ast.Expr {
	if len(spec.Values) == 0 {
		return nil
	}
	return spec.Values[0]
}

func literals(t *testing.T, list []ast.Expr) (values []string) {
	t.Helper()
	for _, expr := range list {
		if lit, ok := expr.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			value, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
	}
	return values
}
