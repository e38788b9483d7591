package httpapi

import (
	"context"

	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
)

// Parse is parse, for the fuzzer.
func Parse(body []byte) (map[string]any, error) { return parse(body) }

// DecodeJob is decodeJob, for the fuzzer and the benchmark.
func (s *Server) DecodeJob(body []byte) (orchestrator.Job, error) { return s.decodeJob(body) }

// Start is start; it tells whether there is a job.
func (s *Server) Start(ctx context.Context, spec orchestrator.Job) (bool, error) {
	j, err := s.start(ctx, spec)
	return j != nil, err
}
