package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// with is the minimal request with further fields, which come first.
func with(fields string) string { return "{" + fields + "," + minimal[1:] }

func asking(request string) string {
	return `{"codingAssistantProvider":"script","userRequest":` + request + `}`
}

const png = `{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}}`

func TestRefusals(t *testing.T) {
	const invalid = "invalid_request"
	for name, tc := range map[string]struct {
		body, field, code string
	}{
		"empty body":       {"", "", invalid},
		"cut off":          {`{"userRequest":"x"`, "", invalid},
		"not JSON":         {`{'userRequest':'x'}`, "", invalid},
		"trailing comma":   {`{"userRequest":"x",}`, "", invalid},
		"trailing bytes":   {minimal + "x", "", invalid},
		"second document":  {minimal + minimal, "", invalid},
		"array":            {"[" + minimal + "]", "", invalid},
		"string":           {`"do it"`, "", invalid},
		"null":             {"null", "", invalid},
		"invalid UTF-8":    {`{"userRequest":"` + "\xff" + `"}`, "", invalid},
		"NaN":              {with(`"x":NaN`), "", invalid},
		"too deep":         {with(`"x":` + strings.Repeat("[", 65) + strings.Repeat("]", 65)), "x" + strings.Repeat("[0]", 33) + "…", invalid},
		"key twice":        {with(`"autoCommit":true,"autoCommit":true`), "autoCommit", invalid},
		"nested key twice": {with(`"github":{"branch":"a","branch":"b"}`), "github.branch", invalid},
		"key in array twice": {
			asking(`[{"type":"text","type":"image"}]`), "userRequest[0].type", invalid,
		},

		"no request":              {`{"codingAssistantProvider":"script"}`, "userRequest", invalid},
		"key in another case":     {`{"codingAssistantProvider":"script","UserRequest":"x"}`, "userRequest", invalid},
		"null request":            {asking("null"), "userRequest", invalid},
		"empty request":           {asking(`""`), "userRequest", invalid},
		"blank request":           {asking(`" \t\n "`), "userRequest", invalid},
		"number request":          {asking("1"), "userRequest", invalid},
		"no blocks":               {asking("[]"), "userRequest", invalid},
		"image alone":             {asking("[" + png + "]"), "userRequest", invalid},
		"blank text":              {asking(`[{"type":"text","text":" "}]`), "userRequest", invalid},
		"block is a string":       {asking(`["x"]`), "userRequest[0]", invalid},
		"null block":              {asking(`[{"type":"text","text":"x"},null]`), "userRequest[1]", invalid},
		"block without type":      {asking(`[{"text":"x"}]`), "userRequest[0].type", invalid},
		"block of another type":   {asking(`[{"type":"video"}]`), "userRequest[0].type", invalid},
		"text is a number":        {asking(`[{"type":"text","text":1}]`), "userRequest[0].text", invalid},
		"image without source":    {asking(`[{"type":"image"}]`), "userRequest[0].source", invalid},
		"image by URL":            {asking(strings.Replace("["+png+"]", `"base64"`, `"url"`, 1)), "userRequest[0].source.type", invalid},
		"image of another type":   {asking(strings.Replace("["+png+"]", "png", "svg+xml", 1)), "userRequest[0].source.media_type", invalid},
		"image that is no base64": {asking(strings.Replace("["+png+"]", "aGk=", "a!", 1)), "userRequest[0].source.data", invalid},
		"image without data":      {asking(strings.Replace("["+png+"]", "aGk=", "", 1)), "userRequest[0].source.data", invalid},

		"no provider":       {`{"userRequest":"x"}`, "codingAssistantProvider", invalid},
		"blank provider":    {`{"userRequest":"x","codingAssistantProvider":" "}`, "codingAssistantProvider", invalid},
		"provider type":     {`{"userRequest":"x","codingAssistantProvider":{}}`, "codingAssistantProvider", invalid},
		"unknown provider":  {`{"userRequest":"x","codingAssistantProvider":"codex"}`, "codingAssistantProvider", "unsupported_provider"},
		"no credential":     {`{"userRequest":"x","codingAssistantProvider":"claude-code"}`, "codingAssistantAuthentication", invalid},
		"FROM_ENV, none":    {with(`"codingAssistantAuthentication":"FROM_ENV"`), "codingAssistantAuthentication", invalid},
		"credential number": {with(`"codingAssistantAuthentication":5`), "codingAssistantAuthentication", invalid},
		"credential array":  {with(`"codingAssistantAuthentication":["x"]`), "codingAssistantAuthentication", invalid},
		"provider refuses": {
			`{"userRequest":"x","codingAssistantProvider":"claude-code","codingAssistantAuthentication":"k","providerOptions":{"model":"bad"}}`,
			"providerOptions.model", invalid,
		},

		"session type":      {with(`"websiteSessionId":1`), "websiteSessionId", invalid},
		"session traversal": {with(`"websiteSessionId":"x/../../home"`), "websiteSessionId", invalid},
		"session dots":      {with(`"websiteSessionId":"a..b"`), "websiteSessionId", invalid},
		"session dot first": {with(`"websiteSessionId":".a"`), "websiteSessionId", invalid},
		"session CRLF":      {with(`"websiteSessionId":"a\r\nX: y"`), "websiteSessionId", invalid},
		"session newline":   {with(`"websiteSessionId":"a\n"`), "websiteSessionId", invalid},
		"session too long":  {with(`"websiteSessionId":"` + strings.Repeat("a", 129) + `"`), "websiteSessionId", invalid},
		"session not ASCII": {with(`"websiteSessionId":"é"`), "websiteSessionId", invalid},
		"resume traversal":  {with(`"resumeSessionId":"../x"`), "resumeSessionId", invalid},
		"two sessions":      {with(`"websiteSessionId":"a","resumeSessionId":"b"`), "resumeSessionId", invalid},

		"github type":         {with(`"github":"https://x"`), "github", invalid},
		"github empty":        {with(`"github":{}`), "github.repoUrl", invalid},
		"github unknown key":  {with(`"github":{"repoUrl":"https://x","token":"t"}`), "github.token", invalid},
		"github case":         {with(`"github":{"repoURL":"https://x"}`), "github.repoURL", invalid},
		"repoUrl type":        {with(`"github":{"repoUrl":["x"]}`), "github.repoUrl", invalid},
		"repoUrl refused":     {with(`"github":{"repoUrl":"file:///etc"}`), "github.repoUrl", invalid},
		"branch option":       {with(`"github":{"repoUrl":"https://x","branch":"--upload-pack=x"}`), "github.branch", invalid},
		"branch invalid":      {with(`"github":{"repoUrl":"https://x","branch":"a..b"}`), "github.branch", invalid},
		"directory slash":     {with(`"github":{"repoUrl":"https://x","directory":"a/b"}`), "github.directory", invalid},
		"directory backslash": {with(`"github":{"repoUrl":"https://x","directory":"a\\b"}`), "github.directory", invalid},
		"directory dots":      {with(`"github":{"repoUrl":"https://x","directory":".."}`), "github.directory", invalid},
		"directory .git":      {with(`"github":{"repoUrl":"https://x","directory":".Git"}`), "github.directory", invalid},
		"directory option":    {with(`"github":{"repoUrl":"https://x","directory":"-x"}`), "github.directory", invalid},
		"directory NUL":       {with(`"github":{"repoUrl":"https://x","directory":"a\u0000"}`), "github.directory", invalid},
		"directory too long":  {with(`"github":{"repoUrl":"https://x","directory":"` + strings.Repeat("a", 256) + `"}`), "github.directory", invalid},
		"token newline":       {with(`"github":{"repoUrl":"https://x","accessToken":"t\nX: y"}`), "github.accessToken", invalid},
		"token too long":      {with(`"github":{"repoUrl":"https://x","accessToken":"` + strings.Repeat("a", 1<<20) + `"}`), "github.accessToken", invalid},
		"refresh token":       {with(`"github":{"repoUrl":"https://x","refreshToken":7}`), "github.refreshToken", invalid},

		"autoCommit string":     {with(`"autoCommit":"true"`), "autoCommit", invalid},
		"database type":         {with(`"database":[]`), "database", invalid},
		"database unknown key":  {with(`"database":{"accessToken":"x","url":"y"}`), "database.url", invalid},
		"database no token":     {with(`"database":{"sessionId":"x"}`), "database.accessToken", invalid},
		"database session type": {with(`"database":{"accessToken":"x","sessionId":{}}`), "database.sessionId", invalid},
		"database session dots": {with(`"database":{"accessToken":"x","sessionId":".."}`), "database.sessionId", invalid},
		"database session tab":  {with(`"database":{"accessToken":"x","sessionId":"a\tb"}`), "database.sessionId", invalid},
		"database session long": {with(`"database":{"accessToken":"x","sessionId":"` + strings.Repeat("x", 257) + `"}`), "database.sessionId", invalid},
		"options type":          {with(`"providerOptions":1`), "providerOptions", invalid},
		"options unknown key":   {with(`"providerOptions":{"foo":1}`), "providerOptions.foo", invalid},
		"options args":          {with(`"providerOptions":{"extraArgs":["--x"]}`), "providerOptions.extraArgs", invalid},
		"model type":            {with(`"providerOptions":{"model":1}`), "providerOptions.model", invalid},
		"mode type":             {with(`"providerOptions":{"permissionMode":false}`), "providerOptions.permissionMode", invalid},
		"skip type":             {with(`"providerOptions":{"skipPermissions":"no"}`), "providerOptions.skipPermissions", invalid},
		"turns string":          {with(`"providerOptions":{"maxTurns":"3"}`), "providerOptions.maxTurns", invalid},
		"turns negative":        {with(`"providerOptions":{"maxTurns":-1}`), "providerOptions.maxTurns", invalid},
		"turns fraction":        {with(`"providerOptions":{"maxTurns":1.5}`), "providerOptions.maxTurns", invalid},
		"turns huge":            {with(`"providerOptions":{"maxTurns":1e99}`), "providerOptions.maxTurns", invalid},
		"workspace path":        {with(`"workspace":{"path":"/etc"}`), "workspace.path", invalid},
		"workspace type":        {with(`"workspace":"/etc"`), "workspace", invalid},
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(t, config(t, newRunner(t), newSessions()))
			a := w.do("POST", "/execute", tc.body, "Content-Type", "application/json")
			if a.status != 400 || a.body["error"] != tc.code || a.body["message"] == "" {
				t.Errorf("%d %s", a.status, a.raw)
			}
			if field, _ := a.body["field"].(string); field != tc.field {
				t.Errorf("field %q, want %q: %s", field, tc.field, a.raw)
			}
			if a := w.do("GET", "/status", ""); a.status != 200 {
				t.Errorf("the slot is not free: %s", a.raw)
			}
		})
	}
}

func TestUnsupportedProviderNamesThose(t *testing.T) {
	w := serve(t, config(t, newRunner(t), newSessions()))
	a := w.do("POST", "/execute", `{"userRequest":"x","codingAssistantProvider":"codex"}`)
	if diff := cmp.Diff([]any{"claude-code", "script"}, a.body["supportedProviders"]); diff != "" {
		t.Error(diff)
	}
}

// accepted posts a request and returns the job that became of it. defaults are a provider and a credential.
func accepted(t *testing.T, body string, defaults ...string) orchestrator.Job {
	t.Helper()
	r := newRunner(t)
	cfg := config(t, r, newSessions())
	if len(defaults) == 2 {
		cfg.DefaultProvider, cfg.DefaultCredential = defaults[0], secret.New(defaults[1])
	}
	cfg.BaseURLs = map[string]string{"claude-code": "https://gateway.test"}
	w := serve(t, cfg)
	var posting sync.WaitGroup
	defer posting.Wait()
	posting.Go(func() { w.do("POST", "/execute", body) })
	run := r.next()
	run.result <- errors.New("enough")
	return run.job
}

func TestWholeRequest(t *testing.T) {
	job := accepted(t, `{
		"userRequest": [{"type":"text","text":""}, {"type":"text","text":"look"}, `+png+`, {"type":"text","text":" \n"}],
		"codingAssistantProvider": " claudeagentsdk ",
		"codingAssistantAuthentication": {"claudeAiOauth":{"accessToken":"a<b","expiresAt":1234567890123}},
		"resumeSessionId": "A-1.b_2",
		"github": {"repoUrl":"https://git.test/o/r.git","branch":"main","directory":"my app","accessToken":"ghp_x","refreshToken":"r"},
		"autoCommit": false,
		"providerOptions": {"model":"m","permissionMode":"plan","skipPermissions":false,"maxTurns":7}
	}`)
	no := false
	want := orchestrator.Job{
		SessionID: "A-1.b_2", MustExist: true, ProviderName: " claudeagentsdk ", BaseURL: "https://gateway.test",
		Prompt:  providers.Prompt{Blocks: []providers.Block{{Text: "look"}, {MediaType: "image/png", Data: []byte("hi")}}},
		Options: providers.Options{Model: "m", PermissionMode: "plan", SkipPermissions: &no, MaxTurns: 7},
		Repo:    &orchestrator.Repo{URL: "https://git.test/o/r.git", Branch: "main", Directory: "my app"},
	}
	ignore := cmp.Options{
		cmpopts.IgnoreTypes(secret.String{}), cmpopts.IgnoreFields(orchestrator.Job{}, "Provider", "RequestID"),
	}
	if diff := cmp.Diff(want, job, ignore); diff != "" {
		t.Error(diff)
	}
	if got := job.Provider.Info().Name; got != "claude-code" {
		t.Errorf("provider %s", got)
	}
	if got := job.Credential.Reveal(); got != `{"claudeAiOauth":{"accessToken":"a<b","expiresAt":1234567890123}}` {
		t.Errorf("credential %s", got)
	}
	if got := job.Repo.Token.Reveal(); got != "ghp_x" {
		t.Errorf("token %s", got)
	}
}

func TestAbsentIsNullIsEmpty(t *testing.T) {
	for _, absent := range []string{"null", `""`} {
		var fields []string
		for _, key := range []string{
			"codingAssistantAuthentication", "websiteSessionId", "resumeSessionId", "github", "autoCommit", "database",
			"providerOptions", "workspace", "somethingElse",
		} {
			fields = append(fields, fmt.Sprintf("%q:%s", key, absent))
		}
		job := accepted(t, with(strings.Join(fields, ",")))
		if job.SessionID != "" || job.Repo != nil || !job.AutoCommit || len(job.Notices) != 0 || !job.Credential.IsZero() {
			t.Errorf("%s: %+v", absent, job)
		}
	}
}

func TestSessionIDs(t *testing.T) {
	for name, tc := range map[string]struct {
		fields string
		must   bool
	}{
		"by the website": {`"websiteSessionId":"s.1"`, false},
		"by resume":      {`"resumeSessionId":"s.1"`, true},
		"by both":        {`"websiteSessionId":"s.1","resumeSessionId":"s.1"`, true},
	} {
		job := accepted(t, with(tc.fields))
		if job.SessionID != "s.1" || job.MustExist != tc.must {
			t.Errorf("%s: %q, %t", name, job.SessionID, job.MustExist)
		}
	}
}

func TestFallbackCredential(t *testing.T) {
	const canary = "sk-ant-canary"
	claude := `{"userRequest":"x","codingAssistantProvider":"claude-code"%s}`
	for name, tc := range map[string]struct{ body, want string }{
		"absent":            {fmt.Sprintf(claude, ""), canary},
		"FROM_ENV":          {fmt.Sprintf(claude, `,"codingAssistantAuthentication":" FROM_ENV "`), canary},
		"default provider":  {`{"userRequest":"x"}`, canary},
		"given":             {fmt.Sprintf(claude, `,"codingAssistantAuthentication":"own"`), "own"},
		"another provider":  {minimal, ""},
		"JSON text as text": {fmt.Sprintf(claude, `,"codingAssistantAuthentication":"{\"apiKey\":\"k\"}"`), `{"apiKey":"k"}`},
	} {
		job := accepted(t, tc.body, "ClaudeAgentSDK", canary)
		if got := job.Credential.Reveal(); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		if name == "default provider" && job.ProviderName != "ClaudeAgentSDK" {
			t.Errorf("provider name %q", job.ProviderName)
		}
	}
}

func TestFallbackIsForItsProviderAlone(t *testing.T) {
	cfg := config(t, newRunner(t), newSessions())
	cfg.DefaultProvider, cfg.DefaultCredential = "script", secret.New("sk-canary-0")
	w := serve(t, cfg)
	for _, auth := range []string{"", `,"codingAssistantAuthentication":"FROM_ENV"`} {
		a := w.do("POST", "/execute", `{"userRequest":"x","codingAssistantProvider":"claude-code"`+auth+`}`)
		if a.status != 400 || a.body["field"] != "codingAssistantAuthentication" {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
}

func TestDatabase(t *testing.T) {
	r := newRunner(t)
	cfg := config(t, r, newSessions())
	cfg.HasDatabase = true
	w := serve(t, cfg)
	var posting sync.WaitGroup
	defer posting.Wait()
	posting.Go(func() {
		w.do("POST", "/execute", with(`"database":{"sessionId":"their/own","accessToken":"dbtoken-canary"}`))
	})
	run := r.next()
	run.result <- errors.New("enough")
	got := run.job.Database
	if got == nil || got.SessionID != "their/own" || got.Token.Reveal() != "dbtoken-canary" || len(run.job.Notices) > 0 {
		t.Errorf("database %+v, notices %q", got, run.job.Notices)
	}
}

func TestNotices(t *testing.T) {
	job := accepted(t, `{
		"userRequest":[{"type":"text","text":"x","cache_control":{}}],"codingAssistantProvider":"script",
		"zeta":1,"alpha":{"x":[1]},"database":{"accessToken":"dbtoken-canary"},"workspace":{"environment":{"A":"b"}}
	}`)
	want := []string{
		"No database is configured on this worker: nothing is written to it",
		"Ignored: this worker does not use alpha, zeta, userRequest[0].cache_control, workspace.environment",
	}
	if diff := cmp.Diff(want, job.Notices); diff != "" {
		t.Error(diff)
	}
}

func TestNoticesAreBounded(t *testing.T) {
	var fields []string
	for i := range 1000 {
		fields = append(fields, fmt.Sprintf(`"%s%d":1`, strings.Repeat("é", 500), i))
	}
	job := accepted(t, with(strings.Join(fields, ",")))
	if len(job.Notices) != 1 || len(job.Notices[0]) > 4000 || !strings.HasSuffix(job.Notices[0], "and 980 more") {
		t.Errorf("%d notices, %.100q…", len(job.Notices), job.Notices)
	}
}

func TestLargeImage(t *testing.T) {
	data := base64.StdEncoding.EncodeToString(make([]byte, 8<<20))
	request, err := json.Marshal([]any{
		map[string]any{"type": "text", "text": "x"},
		map[string]any{"type": "image", "source": map[string]any{"type": "base64", "media_type": "image/webp", "data": data}},
	})
	if err != nil {
		t.Fatal(err)
	}
	job := accepted(t, asking(string(request)))
	if got := len(job.Prompt.Blocks[1].Data); got != 8<<20 {
		t.Errorf("%d bytes", got)
	}
}
