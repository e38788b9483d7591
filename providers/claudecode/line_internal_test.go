package claudecode

import (
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

func FuzzTranscript(f *testing.F) {
	f.Add(`{"type":"system","subtype":"init","session_id":"x","model":"m"}
{"type":"system","subtype":"api_retry","retry_delay_ms":1e300,"error_status":429}
{"type":"result","subtype":"success","is_error":true,"api_error_status":429}`)
	f.Add(`{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":9223372036854775807}}
{"type":"result","subtype":7,"is_error":true,"errors":[null],"usage":[]}`)
	f.Add("null\n[]\n{\"type\":\"control_request\",\"request\":{\"input\":7}}\n\"\"")
	f.Fuzz(func(t *testing.T, lines string) {
		var seen transcript
		for raw := range strings.SplitSeq(lines, "\n") {
			l := parseLine([]byte(raw))
			if l.isControl() {
				if _, err := encode(answer(l.RequestID, l.Request.Subtype, modeBypass, l.Request.Input)); err != nil {
					t.Errorf("answer to %q: %v", raw, err)
				}
				continue
			}
			seen.add(l)
		}
		seen.report()
		if seen.result == nil {
			return
		}
		err := seen.failure(providers.Task{}, time.Unix(1_700_000_000, 0))
		if (err == nil) != (!seen.result.IsError && seen.result.Subtype == "success") {
			t.Errorf("failure: %v", err)
		}
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Error("a failure without a word")
		}
	})
}
