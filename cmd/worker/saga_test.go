package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// saga is one session on its way from worker to worker, with what must not be lost of it on the way.
type saga struct {
	t        testing.TB
	c        *campaign
	env      map[string]string
	random   *rand.Rand
	id, repo string
	repoURL  string
	store    *storage.MinIO
	sessions *storage.Sessions
	jobs     int
	died     time.Time // when the last of its workers was killed
	kept     []string  // what jobs have left in the session and not in the repository
}

// startSaga makes a repository of its own for a session of its own. env is that of its workers.
func (c *campaign) startSaga(t *testing.T, number int, env map[string]string) *saga {
	t.Helper()
	s := &saga{t: t, c: c, env: with(env, "LEASE_TTL", leaseTTL.String()), random: c.random(number), id: fmt.Sprintf("%s-%d", c.name, number)}
	s.repo = "acme/" + s.id
	files := map[string]string{"README.md": "# Saga\n", ".gitignore": "kept/\n"}
	noise := rand.NewChaCha8([32]byte{byte(number)})
	for i := range 100 {
		page := make([]byte, 20<<10)
		_, _ = noise.Read(page)
		files[fmt.Sprintf("pages/%d.bin", i)] = string(page)
	}
	s.repoURL = createRepo(t, c.host, s.repo, files)
	s.git("config", "core.logAllRefUpdates", "always") // so that the host can tell what it ever showed
	var err error
	s.store, err = storage.NewMinIO(storage.MinIOConfig{
		Endpoint: env["MINIO_ENDPOINT"], AccessKey: secret.New(env["MINIO_ACCESS_KEY"]), SecretKey: secret.New(env["MINIO_SECRET_KEY"]),
		Bucket: env["MINIO_BUCKET"], Region: "us-east-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.sessions = storage.NewSessions(storage.Config{Store: s.store, Holder: "witness"})
	return s
}

// job is a request whose agent works for a while: it says what it finds, prints a line each twentieth of a second (in some jobs
// more than one object of the log holds), commits something halfway by itself, and leaves
// a file that git ignores and a process in a session of its own.
func (s *saga) job(lines int) map[string]any {
	s.jobs++
	text := fmt.Sprintf(`for f in kept/*; do echo "found [$f]"; done
setsid sleep 600 >/dev/null 2>&1 &
mkdir -p kept; echo kept > kept/%[1]d; echo begun > work-%[1]d.txt
i=0
while [ $i -lt %[2]d ]; do
  i=$((i+1)); echo "job %[1]d line $i %[3]s"; sleep 0.05
  if [ $i = %[4]d ]; then git add -A; git -c user.name=agent -c user.email=agent@example.invalid commit -q -m "agent %[1]d"; fi
done
echo done >> work-%[1]d.txt`, s.jobs, lines, strings.Repeat("x", 1<<s.random.IntN(17)), lines/2)
	return script(text, "github", github(s.repoURL), "websiteSessionId", s.id)
}

// elsewhere is the environment of a worker on another machine; of one on the same, by chance.
func (s *saga) elsewhere(always bool) map[string]string {
	if !always && s.random.IntN(2) == 0 {
		return s.env
	}
	fresh := env(s.t)
	return with(s.env, "WORKSPACE_DIR", fresh["WORKSPACE_DIR"], "STATE_DIR", fresh["STATE_DIR"])
}

// resume lets a worker take the session as soon as it can be had, and do a job.
func (s *saga) resume(p *proc) *stream {
	s.t.Helper()
	request := s.job(4)
	for deadline := time.Now().Add(time.Minute); ; {
		status, stream, body := p.tryPost(request)
		switch {
		case status == http.StatusOK:
			return stream
		case status != http.StatusConflict || time.Now().After(deadline):
			s.t.Fatalf("the session does not resume: %d %s", status, body)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// metadata are those of the session; false: there is none.
func (s *saga) metadata() (storage.Metadata, bool) {
	s.t.Helper()
	m, err := s.sessions.Metadata(s.t.Context(), s.id)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		s.t.Fatal(err)
	}
	return m, err == nil
}

// history is the session's stored log; empty where there is no session.
func (s *saga) history() (lines [][]byte) {
	s.t.Helper()
	err := s.sessions.Events(s.t.Context(), s.id, event.ID{}, func(line []byte) error {
		lines = append(lines, line)
		return nil
	})
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		s.t.Fatal(err)
	}
	return lines
}

func (s *saga) git(args ...string) string {
	s.t.Helper()
	return strings.TrimSpace(git(s.t, s.c.host.Dir(s.repo), args...))
}

// pushes are all commits that the host has ever shown on branches of workers, and heads what it shows now.
func (s *saga) pushes() []string {
	s.t.Helper()
	heads := s.heads()
	if len(heads) == 0 {
		return nil
	}
	return strings.Fields(s.git(append([]string{"rev-list", "--walk-reflogs"}, heads...)...))
}

func (s *saga) heads() []string {
	s.t.Helper()
	return strings.Fields(s.git("for-each-ref", "--format=%(refname)", "refs/heads/aicw"))
}

// before is what there was of a session when its worker came to its end.
type before struct {
	exists  bool
	m       storage.Metadata
	pushes  []string
	history [][]byte
}

func (s *saga) look() before {
	s.t.Helper()
	b := before{pushes: s.pushes(), history: s.history()}
	b.m, b.exists = s.metadata()
	return b
}

// saved tells whether the attempt's work is the session's.
func (b before) saved(attempt int) bool {
	return b.m.Snapshot != nil && attempt > 0 && strings.HasPrefix(b.m.Snapshot.Objects[0], fmt.Sprintf("snapshot/%08d.", attempt))
}

var foundFile = regexp.MustCompile(`found \[kept/(\d+)\]`)

// continued checks that a job which has succeeded went on from where the session was.
func (s *saga) continued(was before, next *stream) {
	s.t.Helper()
	done := next.completed()
	if done["pushed"] != true || next.events[0]["resuming"] != was.exists {
		s.t.Errorf("the resume is not what it should be:\n%s", next)
	}
	var found []string
	for _, match := range foundFile.FindAllStringSubmatch(next.String(), -1) {
		found = append(found, match[1])
	}
	for _, name := range s.kept {
		if !slices.Contains(found, name) {
			s.c.count(func(t *tally) { t.workLost++ })
			s.t.Errorf("the workspace has lost what job %s had left: it has %v", name, found)
		}
	}
	s.kept = append(s.kept, fmt.Sprint(s.jobs))
	s.holds(was, done["branch"].(string))
	s.tells(was.history)
	s.c.count(func(t *tally) { t.resumed++ })
}

// holds checks that the session's one branch has every commit that was ever pushed or saved.
func (s *saga) holds(was before, branch string) {
	s.t.Helper()
	if heads := s.heads(); !slices.Equal(heads, []string{"refs/heads/" + branch}) {
		s.t.Errorf("branches: %v, want only %s", heads, branch)
	}
	on := strings.Fields(s.git("rev-list", branch))
	for _, commit := range was.pushes {
		if !slices.Contains(on, commit) {
			s.c.count(func(t *tally) { t.pushesLost++ })
			s.t.Errorf("the commit %s was pushed and is lost", commit)
		}
	}
	if head := was.m.GitHub; head != nil && head.Head != "" && !slices.Contains(on, head.Head) {
		s.c.count(func(t *tally) { t.workLost++ })
		s.t.Errorf("the commit %s was saved and is lost", head.Head)
	}
	s.c.count(func(t *tally) { t.pushes += len(was.pushes) })
}
