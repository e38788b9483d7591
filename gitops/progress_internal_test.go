package gitops

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		start := time.Now()
		m := startMeter("Begin", func(p Progress) {
			seen = append(seen, fmt.Sprintf("%v %d %s", time.Since(start), p.Percent, p.Message))
		})
		time.Sleep(1100 * time.Millisecond)
		fmt.Fprint(m, "remote: Counting objects:  50% (1/2)\rremote: junk\nReceiving objects: 100% (9/9), 1.2 MiB | 3 KiB/s, done.\n")
		fmt.Fprint(m, "Compressing objects:  10% (1/10)\r") // late words do not turn the number back
		time.Sleep(500 * time.Millisecond)
		m.stop()
		m.set(99, "after the end")
		want := []string{"0s 0 Begin", "1s 0 Begin", "1.25s 70 Compressing objects: 10% (1/10)"}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func FuzzProgress(f *testing.F) {
	f.Add([]byte("Receiving objects:  12% (3/25), 1.2 MiB\r"))
	f.Add([]byte("x: 999999999999999999999%\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		m := &meter{}
		if _, err := m.Write(line); err != nil || m.last.Percent < 0 || m.last.Percent > 80 {
			t.Errorf("%q: %+v, %v", line, m.last, err)
		}
	})
}
