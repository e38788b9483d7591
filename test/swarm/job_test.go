//go:build swarm

package swarm_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// job is a job as aicw shows it.
type job struct {
	t      *testing.T
	stderr bytes.Buffer
	over   chan struct{}
	status int // of aicw, once it is over

	mu     sync.Mutex
	events []map[string]any
}

// start gives a job to the front by aicw, as a script unless args name another provider.
func start(t *testing.T, session, request string, args ...string) *job {
	t.Helper()
	if session != "" {
		args = append(args, "--session", session)
	}
	j := &job{t: t, over: make(chan struct{})}
	if !strings.Contains(strings.Join(args, " "), "--provider") {
		args = append(args, "--provider", "script")
	}
	cmd := exec.CommandContext(t.Context(), fleet.aicw, append(append([]string{"run", "--json", "--wait", "15m"}, args...), "-")...)
	cmd.Env = append(cmd.Environ(), "AICW_SERVER="+front, "AICW_API_KEY="+apiKey, "AICW_GIT_TOKEN="+gitToken)
	cmd.Stdin, cmd.Stderr = strings.NewReader(request), &j.stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(j.over)
		j.read(out)
		_ = cmd.Wait()
		j.status = cmd.ProcessState.ExitCode()
	}()
	return j
}

func (j *job) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		var e map[string]any
		if json.Unmarshal(line, &e) == nil && e["type"] != nil {
			j.mu.Lock()
			j.events = append(j.events, e)
			j.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// find returns the first event that matches so far, or nil.
func (j *job) find(match func(map[string]any) bool) map[string]any {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events {
		if match(e) {
			return e
		}
	}
	return nil
}

func ofType(kind string) func(map[string]any) bool {
	return func(e map[string]any) bool { return e["type"] == kind }
}

// until waits until the script has said something.
func (j *job) until(text string) *job {
	j.t.Helper()
	eventually(j.t, fmt.Sprintf("the job says %q", text), 10*time.Minute, func() bool {
		return strings.Contains(j.said(), text) || j.ended()
	})
	if !strings.Contains(j.said(), text) {
		j.t.Fatalf("the job ended without saying %q:\n%s", text, j)
	}
	return j
}

func (j *job) ended() bool {
	select {
	case <-j.over:
		return true
	default:
		return false
	}
}

// said is what the agent has printed, as JSON.
func (j *job) said() string {
	var text strings.Builder
	j.find(func(e map[string]any) bool {
		if e["type"] == "assistant_message" {
			line, _ := json.Marshal(e["data"])
			text.Write(append(line, '\n'))
		}
		return false
	})
	return text.String()
}

// container is the hostname of the job's worker.
func (j *job) container() string {
	j.t.Helper()
	eventually(j.t, "the job is connected", 10*time.Minute, func() bool { return j.find(ofType("connected")) != nil || j.ended() })
	e := j.find(ofType("connected"))
	if e == nil {
		j.t.Fatalf("the job was not connected:\n%s", j)
	}
	return fmt.Sprint(e["containerId"])
}

// session is the ID of the job's session.
func (j *job) session() string {
	j.t.Helper()
	j.container()
	return fmt.Sprint(j.find(ofType("connected"))["sessionId"])
}

// end waits for the client's end and returns the last event.
func (j *job) end() map[string]any {
	j.t.Helper()
	select {
	case <-j.over:
	case <-time.After(15 * time.Minute):
		j.t.Fatalf("the job does not end:\n%s", j)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.events) == 0 {
		return map[string]any{}
	}
	return j.events[len(j.events)-1]
}

func (j *job) completed() map[string]any {
	j.t.Helper()
	last := j.end()
	if last["type"] != "completed" || j.status != 0 {
		j.t.Errorf("not completed (aicw's status %d):\n%s", j.status, j)
	}
	return last
}

func (j *job) failed(code string) map[string]any {
	j.t.Helper()
	last := j.end()
	if last["type"] != "error" || last["code"] != code || j.status != 1 {
		j.t.Errorf("want the error %s and aicw's status 1, got %d:\n%s", code, j.status, j)
	}
	return last
}

// at is the time of the first event of a type.
func (j *job) at(kind string) time.Time {
	j.t.Helper()
	e := j.find(ofType(kind))
	if e == nil {
		j.t.Fatalf("no event %s:\n%s", kind, j)
	}
	at, err := time.Parse(time.RFC3339, fmt.Sprint(e["timestamp"]))
	if err != nil {
		j.t.Fatal(err)
	}
	return at
}

func (j *job) String() string {
	var text strings.Builder
	j.find(func(e map[string]any) bool {
		line, _ := json.Marshal(e)
		text.Write(append(line, '\n'))
		return false
	})
	if j.ended() {
		text.WriteString(j.stderr.String())
	}
	return text.String()
}

// repository makes one on the git host.
func repository(t *testing.T, name string) (dir, url string) {
	t.Helper()
	if _, err := fleet.git.Create(name, map[string]string{"README.md": "a test\n"}); err != nil {
		t.Fatal(err)
	}
	return fleet.git.Dir(name), fleet.git.CloneURL(name)
}

// committed reads a file of a branch on the git host.
func committed(t *testing.T, name string, last map[string]any, file string) string {
	t.Helper()
	text, err := fleet.git.Git(name, "show", fmt.Sprint(last["branch"])+":"+file)
	if err != nil {
		t.Errorf("%s on %v: %v", file, last["branch"], err)
	}
	return text
}
