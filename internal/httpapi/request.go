package httpapi

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// topLevel are the fields of a request. Others are ignored, because older clients send more, and named in an event.
var topLevel = []string{
	"userRequest", "codingAssistantProvider", "codingAssistantAuthentication", "websiteSessionId", "resumeSessionId",
	"github", "autoCommit", "database", "providerOptions", "workspace",
}

// decodeJob makes a job of a request's body, or says which field is wrong.
func (s *Server) decodeJob(body []byte) (orchestrator.Job, error) {
	fields, err := parse(body)
	if err != nil {
		return orchestrator.Job{}, err
	}
	r := request{object: newObject(fields)}
	r.ignored = r.unknown(topLevel...)
	job := orchestrator.Job{Prompt: r.prompt(), AutoCommit: true}
	job.SessionID, job.MustExist = r.session()
	job.Provider, job.ProviderName = r.provider(s.cfg)
	job.Credential = r.credential(s.cfg, job.Provider)
	job.Repo = r.repo(s.cfg.CheckRepoURL)
	if auto := r.boolean("autoCommit"); auto != nil {
		job.AutoCommit = *auto
	}
	job.Options = r.options()
	job.Database = r.database(s.cfg.HasDatabase)
	r.workspace()
	if err := r.err(); err != nil {
		return orchestrator.Job{}, err
	}
	job.BaseURL = s.cfg.BaseURLs[job.Provider.Info().Name]
	job.Notices = r.allNotices()
	return job, checkTask(job)
}

// checkTask asks the provider itself, before anything is spent.
func checkTask(job orchestrator.Job) error {
	err := job.Provider.Check(providers.Task{
		Prompt: job.Prompt, Credential: job.Credential, BaseURL: job.BaseURL, Options: job.Options,
	})
	if err != nil {
		return fmt.Errorf("check the request: %w", err)
	}
	return nil
}

// request is the body of POST /execute while it is read.
type request struct {
	object
	ignored []string // fields that were not used, by their paths
	notices []string
}

// allNotices is what the client should know although the request is good.
func (r *request) allNotices() []string {
	const most = 20
	if len(r.ignored) == 0 {
		return r.notices
	}
	names, more := r.ignored, ""
	if len(names) > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", len(names)-most)
	}
	return append(r.notices, fmt.Sprintf("Ignored: this worker does not use %s%s", strings.Join(names, ", "), more))
}

// checkSessionID keeps an ID from becoming anything but a name: it goes into object keys, paths and branches.
func checkSessionID(id string) error {
	if !storage.ValidID(id) {
		return errors.New("must be 1 to 128 of A-Z a-z 0-9 . _ -, begin with a letter or digit, and have no two dots together")
	}
	return nil
}

// session is the ID under either of its two names; by the older one the session must exist.
func (r *request) session() (id string, mustExist bool) {
	website, resume := r.id("websiteSessionId"), r.id("resumeSessionId")
	if website != "" && resume != "" && website != resume {
		r.refuse("resumeSessionId", "differs from websiteSessionId: they are two names of one field")
	}
	if resume != "" {
		return resume, true
	}
	return website, false
}

func (r *request) id(key string) string {
	id := r.text(key)
	if err := checkSessionID(id); id != "" && err != nil {
		r.refuse(key, "%v", err)
	}
	return id
}

// options are those of every provider; whether a provider takes them is its own to say.
func (r *request) options() providers.Options {
	o, _ := r.object.object("providerOptions")
	o.only("model", "permissionMode", "skipPermissions", "maxTurns")
	return providers.Options{
		Model: o.text("model"), PermissionMode: o.text("permissionMode"),
		SkipPermissions: o.boolean("skipPermissions"), MaxTurns: o.count("maxTurns"),
	}
}

// database is checked even where this worker has none to write to.
func (r *request) database(configured bool) *orchestrator.Database {
	o, ok := r.object.object("database")
	if !ok {
		return nil
	}
	o.only("sessionId", "accessToken")
	d := &orchestrator.Database{SessionID: o.text("sessionId"), Token: secret.New(checkToken(o, "accessToken"))}
	if !pathElement(d.SessionID) {
		o.refuse("sessionId", "must be 1 to 256 printable characters, and neither . nor ..: it becomes an element of a path")
	}
	if d.Token.IsZero() {
		o.refuse("accessToken", "is required in database")
	}
	if !configured {
		r.notices = append(r.notices, "No database is configured on this worker: nothing is written to it")
		return nil
	}
	return d
}

// pathElement reports whether an ID of somebody else's making can stand in a URL's path, once it is escaped.
func pathElement(id string) bool {
	const most = 256
	notPrinted := func(r rune) bool { return !unicode.IsPrint(r) }
	return len(id) <= most && id != "." && id != ".." && !strings.ContainsFunc(id, notPrinted)
}

// workspace is reserved.
func (r *request) workspace() {
	o, _ := r.object.object("workspace")
	if o.has("path") {
		o.refuse("path", "cannot be chosen: the worker makes the workspace; github.directory names the checkout's folder")
	}
	r.ignored = append(r.ignored, o.unknown("path")...)
}
