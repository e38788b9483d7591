package root_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	root "github.com/ai-coding-worker/ai-coding-worker"
	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// specification is openapi.yaml: as a validator of what goes over the wire, as a tree, and as schemas. Its objects are closed,
// which in the file they are not: clients ignore what they do not know, but this worker sends nothing that it does not say.
type specification struct {
	tree  map[string]any
	wire  validator.Validator
	mu    sync.Mutex
	rules *jsonschema.Compiler
}

const openapiURL = "openapi.yaml"

var loadSpecification = sync.OnceValues(func() (*specification, error) {
	var parsed any
	if err := yaml.Unmarshal(root.OpenAPI, &parsed); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(parsed)
	if err != nil {
		return nil, err
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	closeObjects(tree)
	closed, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	doc, err := libopenapi.NewDocument(closed)
	if err != nil {
		return nil, err
	}
	wire, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	rules := jsonschema.NewCompiler()
	rules.DefaultDraft(jsonschema.Draft2020)
	rules.AssertFormat()
	rules.AssertContent()
	fields, ok := tree.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is no object", openapiURL)
	}
	return &specification{tree: fields, wire: wire, rules: rules}, rules.AddResource(openapiURL, tree)
})

func readSpecification(t *testing.T) *specification {
	t.Helper()
	spec, err := loadSpecification()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func closeObjects(node any) {
	switch v := node.(type) {
	case map[string]any:
		if _, told := v["additionalProperties"]; v["type"] == "object" && v["properties"] != nil && !told {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			closeObjects(child)
		}
	case []any:
		for _, child := range v {
			closeObjects(child)
		}
	}
}

// at follows a JSON pointer, whose references it looks through.
func (s *specification) at(t *testing.T, path ...string) any {
	t.Helper()
	var node any = s.tree
	for _, key := range path {
		fields, ok := s.follow(t, node).(map[string]any)
		if !ok || fields[key] == nil {
			t.Fatalf("%s has no %s", openapiURL, strings.Join(path, "/"))
		}
		node = fields[key]
	}
	return s.follow(t, node)
}

func (s *specification) follow(t *testing.T, node any) any {
	t.Helper()
	fields, ok := node.(map[string]any)
	if !ok {
		return node
	}
	ref, ok := fields["$ref"].(string)
	if !ok {
		return node
	}
	return s.at(t, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
}

// check holds a value against the schema that a pointer names.
func (s *specification) check(t *testing.T, pointer string, value any) error {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	schema, err := s.rules.Compile(openapiURL + "#" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(plain)
}

func schemaOf(name string) string { return "/components/schemas/" + name }

// why is what a validation has to say, in full.
func why(errs []*errors.ValidationError) string {
	var lines []string
	for _, e := range errs {
		lines = append(lines, e.Error())
		for _, inner := range e.SchemaValidationErrors {
			lines = append(lines, "  "+inner.Error())
		}
	}
	return strings.Join(lines, "\n")
}

func TestOpenAPIIsValid(t *testing.T) {
	doc, err := libopenapi.NewDocument(root.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	wire, errs := validator.NewValidator(doc)
	for _, err := range errs {
		t.Error(err)
	}
	if ok, errs := wire.ValidateDocument(); !ok {
		t.Error(why(errs))
	}
	if v := doc.GetVersion(); v != "3.1.0" {
		t.Errorf("version %s", v)
	}
}

var methods = []string{"get", "put", "post", "delete", "patch", "head", "options", "trace"}

// operations are all methods of all paths, as the worker writes them.
func (s *specification) operations(t *testing.T) []string {
	t.Helper()
	var all []string
	for path := range s.at(t, "paths").(map[string]any) {
		for method := range s.at(t, "paths", path).(map[string]any) {
			if slices.Contains(methods, method) {
				all = append(all, strings.ToUpper(method)+" "+strings.ReplaceAll(path, "{id}", ":id"))
			}
		}
	}
	return sorted(all)
}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	_, body := ask(t, documented{now: shownTime}.server(t), http.MethodGet, "/nowhere", "")
	var answer struct{ AvailableEndpoints []string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sorted(answer.AvailableEndpoints), readSpecification(t).operations(t)); diff != "" {
		t.Errorf("routes (-worker +openapi.yaml):\n%s", diff)
	}
}

// exampleOf is a value that the document shows, and the pointer to its schema.
type exampleOf struct {
	schema string
	value  any
}

// examples finds those of media types, parameters, headers and schemas.
func (s *specification) examples(pointer string, node any) []exampleOf {
	var found []exampleOf
	switch v := node.(type) {
	case map[string]any:
		if example, ok := v["example"]; ok {
			found = append(found, exampleOf{pointer + "/schema", example})
		}
		switch shown := v["examples"].(type) {
		case []any: // of a schema
			for _, value := range shown {
				found = append(found, exampleOf{pointer, value})
			}
		case map[string]any: // of a media type
			for _, named := range shown {
				found = append(found, exampleOf{pointer + "/schema", named.(map[string]any)["value"]})
			}
		}
		for key, child := range v {
			if key != "example" && key != "examples" {
				found = append(found, s.examples(pointer+"/"+escapePointer(key), child)...)
			}
		}
	case []any:
		for i, child := range v {
			found = append(found, s.examples(fmt.Sprintf("%s/%d", pointer, i), child)...)
		}
	}
	return found
}

func escapePointer(key string) string {
	key = strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
	return strings.NewReplacer("{", "%7B", "}", "%7D").Replace(key)
}

func TestOpenAPIExamplesAreValid(t *testing.T) {
	spec := readSpecification(t)
	all := spec.examples("", spec.tree)
	for _, e := range all {
		if err := spec.check(t, e.schema, e.value); err != nil {
			t.Errorf("%s: %v\n%v", e.schema, err, e.value)
		}
	}
	if len(all) < 60 {
		t.Errorf("only %d examples", len(all))
	}
}

// Every event that is shown anywhere is what the schemas say, and what the worker writes.
func TestOpenAPIDescribesTheEventsOfTheDocuments(t *testing.T) {
	spec := readSpecification(t)
	shown := eventExamples(t)
	for _, kind := range event.Types() {
		schema, ok := strings.CutPrefix(spec.at(t, "components", "schemas", "Event", "discriminator", "mapping", kind).(string), "#/components/schemas/")
		if !ok {
			t.Errorf("%s leads nowhere", kind)
		}
		examples, ok := spec.at(t, "components", "schemas", schema, "examples").([]any)
		if !ok {
			t.Errorf("%s shows no example", schema)
		}
		for _, e := range examples {
			raw, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			decodeBody(t, example{doc: openapiURL, raw: raw})
		}
	}
	for _, e := range shown {
		if err := spec.check(t, schemaOf("Event"), json.RawMessage(e.raw)); err != nil {
			t.Errorf("%s:%d: %v", e.doc, e.line, err)
		}
	}
}

// The events of the orchestrator's scenarios are what the schemas say.
func TestOpenAPIDescribesTheEventsOfJobs(t *testing.T) {
	spec := readSpecification(t)
	paths, err := filepath.Glob("orchestrator/testdata/*.jsonl")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d scenarios, %v", len(paths), err)
	}
	for _, path := range paths {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(strings.ReplaceAll(string(file), `"timestamp":"T"`, `"timestamp":"`+shownTime+`"`)) {
			if err := spec.check(t, schemaOf("Event"), json.RawMessage(line)); err != nil {
				t.Errorf("%s: %v\n%s", path, err, line)
			}
		}
	}
}

// The schema of a request takes what the worker takes, and refuses what it refuses.
func TestOpenAPIDescribesRequests(t *testing.T) {
	spec := readSpecification(t)
	server := documented{now: shownTime, script: true, job: refuseJob}.server(t)
	agree := func(where, body string) {
		t.Helper()
		status, answer := ask(t, server, http.MethodPost, "/execute", body)
		err := spec.check(t, schemaOf("ExecuteRequest"), json.RawMessage(body))
		if taken := status == http.StatusConflict; taken != (err == nil) {
			t.Errorf("%s: %s\nthe worker: %d %s\nopenapi.yaml: %v", where, body, status, answer, err)
		}
	}
	for _, doc := range documents(t) {
		for _, e := range doc.examples() {
			if fields := map[string]any{}; json.Unmarshal(e.raw, &fields) == nil && fields["userRequest"] != nil {
				agree(fmt.Sprintf("%s:%d", e.doc, e.line), string(e.raw))
			}
		}
	}
	for _, userRequest := range []string{
		`"x"`, `" \n"`, `""`, `null`, `1`, `{}`, `[]`, `[{"type":"text","text":"x"}]`, `[{"type":"video","text":"x"}]`, `[{"text":"x"}]`,
		`[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]`,
		`[{"type":"text","text":"x"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]`,
		`[{"type":"text","text":"x"},{"type":"image","source":{"type":"base64","media_type":"image/tiff","data":"iVBORw0KGgo="}}]`,
		`[{"type":"text","text":"x"},{"type":"image","source":{"type":"url","media_type":"image/png","data":"iVBORw0KGgo="}}]`,
		`[{"type":"text","text":"x"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"no base64"}}]`,
		`[{"type":"text","text":"x"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":""}}]`,
		`[{"type":"text","text":"x"},{"type":"image"}]`,
	} {
		agree("userRequest", `{"userRequest":`+userRequest+`,"codingAssistantProvider":"claude","codingAssistantAuthentication":"canary"}`)
	}
	for _, fields := range []string{
		`"websiteSessionId":"a.b"`, `"websiteSessionId":"a..b"`, `"websiteSessionId":".a"`, `"websiteSessionId":"a."`, `"websiteSessionId":"../x"`,
		`"websiteSessionId":"` + strings.Repeat("x", 128) + `"`, `"websiteSessionId":"` + strings.Repeat("x", 129) + `"`,
		`"websiteSessionId":""`, `"websiteSessionId":null`, `"websiteSessionId":7`, `"resumeSessionId":"a b"`, `"resumeSessionId":""`,
		`"autoCommit":false`, `"autoCommit":null`, `"autoCommit":""`, `"autoCommit":"yes"`, `"autoCommit":0`,
		`"codingAssistantAuthentication":"x"`, `"codingAssistantAuthentication":{"apiKey":"x"}`, `"codingAssistantAuthentication":null`,
		`"codingAssistantAuthentication":""`, `"codingAssistantAuthentication":[]`, `"codingAssistantAuthentication":true`,
		`"github":null`, `"github":""`, `"github":"x"`, `"github":{}`, `"github":{"repoUrl":""}`, `"github":{"repoUrl":"https://h/r"}`, `"github":{"repoUrl":"git@h:r"}`,
		`"github":{"repoUrl":"https://h/r","branch":null,"directory":"","accessToken":null,"refreshToken":""}`, `"github":{"repoUrl":"https://h/r","ref":"main"}`,
		`"github":{"repoUrl":"https://h/r","branch":7}`, `"github":{"repoUrl":"https://h/r","accessToken":"` + strings.Repeat("x", 16385) + `"}`,
		`"providerOptions":{}`, `"providerOptions":""`, `"providerOptions":[]`, `"providerOptions":{"maxTurns":0}`, `"providerOptions":{"maxTurns":-1}`,
		`"providerOptions":{"maxTurns":1.5}`, `"providerOptions":{"maxTurns":""}`, `"providerOptions":{"maxTurns":"1"}`, `"providerOptions":{"skipPermissions":false}`,
		`"providerOptions":{"skipPermissions":"no"}`, `"providerOptions":{"model":null,"permissionMode":""}`, `"providerOptions":{"effort":"high"}`,
		`"database":{"accessToken":"x"}`, `"database":{"sessionId":"s","accessToken":"x"}`, `"database":{"sessionId":"s"}`, `"database":{"accessToken":"x","url":"y"}`, `"database":""`,
		`"workspace":{}`, `"workspace":null`, `"workspace":{"environment":{"A":"b"}}`, `"workspace":{"path":""}`, `"workspace":{"path":"/x"}`, `"workspace":"x"`,
	} {
		agree("fields", `{"userRequest":"x","codingAssistantProvider":"script",`+fields+`}`)
	}
}

// refuseJob is a job that is taken up to where it would start.
func refuseJob(context.Context) error { return storage.ErrBusy }
