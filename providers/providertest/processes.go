package providertest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// newMarker is a number of seconds that only this test's processes sleep for.
func newMarker() string { return fmt.Sprintf("3600.%09d", rand.IntN(1_000_000_000)) }

// wantGone fails if a process with the marker among its arguments is left. A run's promise is that they are gone when it
// returns, so it looks once.
func wantGone(t *testing.T, marker string) {
	t.Helper()
	for _, pid := range withArgument(t, marker) {
		t.Errorf("process %s outlived the run", pid)
	}
}

func withArgument(t *testing.T, argument string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended since
		}
		for arg := range bytes.SplitSeq(line, []byte{0}) {
			if string(arg) == argument {
				pids = append(pids, filepath.Base(filepath.Dir(file)))
				break
			}
		}
	}
	return pids
}
