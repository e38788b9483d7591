package main

import (
	"os"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/worker"
)

// TestMain lets the workers of the demo start their children from the test binary.
func TestMain(m *testing.M) {
	agentproc.Dispatch(worker.Helpers()...)
	os.Exit(m.Run())
}
