package agentproc

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestLowerLimitStays limits a command where the limit is lower, and higher, already.
func TestLowerLimitStays(t *testing.T) {
	for before, want := range map[string]string{"60000": "60000", "200000": "100000"} {
		cmd := exec.CommandContext(t.Context(), shell, "-c", `ulimit -d "$1"; exec "$2" -c "$3" "$2" 100000 "$2" -c 'ulimit -d'`,
			shell, before, shell, limitSelf)
		if os.Geteuid() == 0 { // as the worker's own root is, one without CAP_SYS_RESOURCE
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 10001, Gid: 10001}}
		}
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %q, %v", before, out, err)
		}
	}
}
