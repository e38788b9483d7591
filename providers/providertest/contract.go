// Package providertest is the contract of a provider as a test, and a provider that does what a test says.
package providertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// Subject is a provider under test.
type Subject struct {
	// Provider's graces should be short: some agents of the contract ignore every request to stop.
	Provider providers.Provider
	// Task completes a task (Dir, Home and Agent are set) so that the assistant behaves like a shell script: it prints what
	// the script prints, and ends like it.
	Task func(t *testing.T, task providers.Task, behaviour string) providers.Task
}

// canary is a secret that the agents of the contract print.
const canary = "canary-5f1d2c7e9ab04f63"

// endTimeout bounds the end of a run that is stopped, on a busy machine.
const endTimeout = 30 * time.Second

// Run runs the contract's tests. TestMain must call agentproc.Dispatch.
func Run(t *testing.T, newSubject func(t *testing.T) Subject) {
	for name, test := range map[string]func(*testing.T, *bench){
		"lines come whole and in order":          testLines,
		"a huge line is cut and the run goes on": testHugeLine,
		"secrets are scrubbed":                   testSecrets,
		"output on stderr is no failure":         testStderr,
		"an exit status is told":                 testExitStatus,
		"a cancelled run ends with its tree":     testCancel,
		"a run cancelled before it began":        testCancelledBefore,
		"an error from emit stops the run":       testEmitError,
		"a daemon does not outlive the run":      testDaemon,
		"nothing is left outside Dir and Home":   testFootprint,
	} {
		t.Run(name, func(t *testing.T) {
			test(t, newBench(t, newSubject(t)))
		})
	}
}

// bench is one test's workplace.
type bench struct {
	subject Subject
	root    string
	task    providers.Task // with its Dir, Home and Agent
}

func newBench(t *testing.T, subject Subject) *bench {
	b := &bench{subject: subject, root: agenttest.Dir(t)}
	b.task = providers.Task{
		Dir: filepath.Join(b.root, "checkout"), Home: filepath.Join(b.root, "home"), Agent: agenttest.Start(t, secret.New(canary)),
	}
	for _, dir := range []string{b.task.Dir, b.task.Home} {
		if err := b.task.Agent.MkdirAll(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// run runs the subject; every message is checked for its form and then given to emit, which may be nil.
func (b *bench) run(ctx context.Context, t *testing.T, behaviour string, emit func(providers.Message) error) ([]providers.Message, error) {
	t.Helper()
	task := b.subject.Task(t, b.task, behaviour)
	if err := b.subject.Provider.Check(task); err != nil {
		t.Fatalf("Check: %v", err)
	}
	var messages []providers.Message
	_, err := b.subject.Provider.Run(ctx, task, func(m providers.Message) error {
		if !json.Valid(m.Raw) || bytes.ContainsAny(m.Raw, "\r\n") {
			t.Errorf("message is not one line of JSON: %.200q", m.Raw)
		}
		messages = append(messages, providers.Message{Kind: m.Kind, SessionID: m.SessionID, Model: m.Model, Raw: bytes.Clone(m.Raw)})
		if emit != nil {
			return emit(m)
		}
		return nil
	})
	return messages, err
}

// texts are the messages that hold a marker.
func texts(messages []providers.Message, marker string) []string {
	var found []string
	for _, m := range messages {
		if bytes.Contains(m.Raw, []byte(marker)) {
			found = append(found, string(m.Raw))
		}
	}
	return found
}

func testLines(t *testing.T, b *bench) {
	messages, err := b.run(t.Context(), t, `
echo '{"type":"of a shape that nobody knows","marker":"mark-0"}'
echo 'mark-1, which is not JSON: {"type":'
echo '["mark-2"]'
printf 'mark-3 \377 not UTF-8\n'
echo '{"type":42,"result":[],"message":"mark-4"}'
printf '{"type":"assistant", "message":"mark-5"}\r\n'
echo
i=6; while [ $i -lt 500 ]; do echo "mark-$i"; i=$((i+1)); done
printf 'mark-500 without a newline\n'
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	marked := texts(messages, "mark-")
	if len(marked) != 501 {
		t.Fatalf("%d lines came, want 501", len(marked))
	}
	for i, line := range marked {
		if !strings.Contains(line, fmt.Sprintf("mark-%d", i)) {
			t.Fatalf("line %d is %s", i, line)
		}
	}
	if last := messages[len(messages)-1]; last.Kind != providers.KindResult {
		t.Errorf("the last message is of kind %v: %s", last.Kind, last.Raw)
	}
}

func testHugeLine(t *testing.T, b *bench) {
	messages, err := b.run(t.Context(), t, fmt.Sprintf(`
head -c %d /dev/zero | tr '\0' x
echo
echo mark-after
`, agentproc.MaxLine+5<<20), nil)
	if err != nil {
		t.Fatal(err)
	}
	huge := 0
	for _, m := range messages {
		if len(m.Raw) > agentproc.MaxLine/2 {
			huge++
			if tail := string(m.Raw[len(m.Raw)-40:]); len(m.Raw) > agentproc.MaxLine+100 || !strings.Contains(tail, "truncated") {
				t.Errorf("the huge line is %d bytes and ends in %s", len(m.Raw), tail)
			}
		}
	}
	if huge != 1 || len(texts(messages, "mark-after")) != 1 {
		t.Errorf("%d huge lines, then %q", huge, texts(messages, "mark-after"))
	}
}

func testSecrets(t *testing.T, b *bench) {
	messages, err := b.run(t.Context(), t, `
echo 'mark '`+canary+`' end'
echo '{"type":"assistant","mark":"`+canary+`"}'
echo `+canary+` | base64 | sed 's/^/mark /'
echo '`+canary+` on stderr' >&2
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if marked := texts(messages, "mark"); len(marked) != 3 {
		t.Errorf("the lines around the secret: %q", marked)
	}
	if leaked := texts(messages, canary); len(leaked) > 0 {
		t.Errorf("the secret is in %q", leaked)
	}
}

func testStderr(t *testing.T, b *bench) {
	if _, err := b.run(t.Context(), t, `echo 'fatal: nothing is wrong' >&2`, nil); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func testExitStatus(t *testing.T, b *bench) {
	_, err := b.run(t.Context(), t, `echo 'it broke: `+canary+`' >&2; exit 3`, nil)
	exit := new(agentproc.ExitError)
	if !errors.As(err, &exit) || exit.Code != 3 {
		t.Fatalf("Run: %v, want an ExitError of status 3", err)
	}
	if text := err.Error() + exit.Stderr; !strings.Contains(text, "it broke") || strings.Contains(text, canary) {
		t.Errorf("the error says %q, with %q", err, exit.Stderr)
	}
}

// stubborn starts what is hard to kill, in each way once, and tells when all of it runs.
func stubborn(marker string) string {
	return `
trap '' TERM INT HUP
sleep ` + marker + ` &
(setsid sleep ` + marker + ` &)
(env -i setsid sh -c 'trap "" TERM; sleep ` + marker + ` & sleep ` + marker + `' &)
until [ "$(grep -lz '^` + marker + `$' /proc/[0-9]*/cmdline 2>/dev/null | wc -l)" -ge 4 ]; do sleep 0.05; done
echo mark-ready
`
}

func testCancel(t *testing.T, b *bench) {
	cause := errors.New("the test has seen enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	marker := newMarker()
	var cancelled time.Time
	_, err := b.run(ctx, t, stubborn(marker)+"sleep "+marker+"; sleep "+marker, func(m providers.Message) error {
		if bytes.Contains(m.Raw, []byte("mark-ready")) {
			cancelled = time.Now()
			cancel(cause)
		}
		return nil
	})
	if !errors.Is(err, cause) {
		t.Errorf("Run: %v, want the context's cause", err)
	}
	if took := time.Since(cancelled); cancelled.IsZero() || took > endTimeout {
		t.Errorf("the end took %v", took)
	}
	wantGone(t, marker)
}

func testCancelledBefore(t *testing.T, b *bench) {
	cause := errors.New("never mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	messages, err := b.run(ctx, t, "echo mark", nil)
	if !errors.Is(err, cause) || len(messages) > 0 {
		t.Errorf("Run: %v after %d messages", err, len(messages))
	}
}

func testEmitError(t *testing.T, b *bench) {
	full := errors.New("no more room")
	marker := newMarker()
	emitted := 0
	_, err := b.run(t.Context(), t, stubborn(marker)+"while :; do echo mark; done", func(m providers.Message) error {
		if bytes.Contains(m.Raw, []byte(`mark`)) {
			emitted++
		}
		if emitted == 10 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || emitted != 10 {
		t.Errorf("Run: %v after %d lines", err, emitted)
	}
	wantGone(t, marker)
}

func testDaemon(t *testing.T, b *bench) {
	marker := newMarker()
	if _, err := b.run(t.Context(), t, stubborn(marker), nil); err != nil {
		t.Errorf("Run: %v", err)
	}
	wantGone(t, marker)
}

func testFootprint(t *testing.T, b *bench) {
	if _, err := b.run(t.Context(), t, "echo mark", nil); err != nil {
		t.Fatal(err)
	}
	out, err := b.task.Agent.Command("/bin/sh", "-c", `cd "$1" && ls -A . checkout`, "sh", b.root).Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(out), ".:\ncheckout\nhome\n\ncheckout:\n"; got != want {
		t.Errorf("what is there after a run that does nothing:\n%s", got)
	}
}
