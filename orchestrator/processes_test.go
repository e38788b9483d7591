package orchestrator_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// TestLimitOfProcesses is told where the kernel has refused one meanwhile, whether the agent noticed or not.
func TestLimitOfProcesses(t *testing.T) {
	for name, tt := range map[string]struct {
		after string
		err   error
		told  bool
	}{
		"unnoticed": {"max 3\n", nil, true},
		"noticed":   {"max 3\n", errors.New("fork: Resource temporarily unavailable"), true},
		"earlier":   {"max 2\n", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			events := filepath.Join(t.TempDir(), "pids.events")
			count := func(text string) {
				if err := os.WriteFile(events, []byte(text), 0o600); err != nil {
					t.Error(err)
				}
			}
			count("max 2\n")
			o := w.worker(func(cfg *orchestrator.Config) {
				cfg.Agents = func(ctx context.Context) (*agentproc.Agent, error) {
					return agentproc.Start(ctx, agentproc.Config{UID: agenttest.UID, ProcessEvents: []string{"/nowhere", events}})
				}
			})
			p := says("x", "", nil)
			p.Edit = func(context.Context, providers.Task) error {
				count(tt.after)
				return tt.err
			}
			lines := w.mustRun(o, w.job(p))
			if told := strings.Contains(strings.Join(lines, "\n"), "as many processes as this worker may have"); told != tt.told {
				t.Errorf("told: %t\n%s", told, strings.Join(lines, "\n"))
			}
		})
	}
}
