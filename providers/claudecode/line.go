package claudecode

import (
	"encoding/json"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// line is what the worker reads of the lines that the CLI prints; of every other member it knows nothing.
type line struct {
	Type      string `json:"type"`
	Subtype   string `json:"subtype"`
	SessionID string `json:"session_id"`
	Model     string `json:"model"` // of system/init
	Parent    string `json:"parent_tool_use_id"`

	Message struct {
		Model   string          `json:"model"`
		Content json.RawMessage `json:"content"`
	} `json:"message"`

	Error       string  `json:"error"` // of assistant and system/api_retry: the API's failure by a fixed name
	ErrorStatus int     `json:"error_status"`
	RetryDelay  float64 `json:"retry_delay_ms"`

	RateLimit struct {
		Status   string `json:"status"`
		ResetsAt int64  `json:"resetsAt"` // seconds since 1970
	} `json:"rate_limit_info"`

	outcome

	RequestID string `json:"request_id"` // of control_request
	Request   struct {
		Subtype string          `json:"subtype"`
		Input   json.RawMessage `json:"input"`
	} `json:"request"`
	Response struct {
		Subtype   string `json:"subtype"`
		RequestID string `json:"request_id"`
		Error     string `json:"error"`
	} `json:"response"`
}

// outcome is what the line of type result says, beside its subtype.
type outcome struct {
	IsError        bool     `json:"is_error"`
	Result         string   `json:"result"`
	Errors         []string `json:"errors"`
	APIErrorStatus int      `json:"api_error_status"`
	TerminalReason string   `json:"terminal_reason"`
	Usage          struct {
		Input      int64 `json:"input_tokens"`
		Output     int64 `json:"output_tokens"`
		CacheRead  int64 `json:"cache_read_input_tokens"`
		CacheWrite int64 `json:"cache_creation_input_tokens"`
	} `json:"usage"`
	TotalCostUSD float64 `json:"total_cost_usd"`

	// ModelUsage is by model, and has what the agents that the assistant started have used, as the cost has, and Usage has not.
	ModelUsage map[string]struct {
		Input      int64 `json:"inputTokens"`
		Output     int64 `json:"outputTokens"`
		CacheRead  int64 `json:"cacheReadInputTokens"`
		CacheWrite int64 `json:"cacheCreationInputTokens"`
	} `json:"modelUsage"`
}

// spent is what the run has used.
func (o outcome) spent() providers.Usage {
	all := providers.Usage{CostUSD: o.TotalCostUSD}
	for _, u := range o.ModelUsage {
		all.InputTokens += u.Input + u.CacheRead + u.CacheWrite
		all.OutputTokens += u.Output
	}
	if len(o.ModelUsage) == 0 {
		all.InputTokens = o.Usage.Input + o.Usage.CacheRead + o.Usage.CacheWrite
		all.OutputTokens = o.Usage.Output
	}
	return all
}

// parseLine reads what it can: a line that is not an object, or whose members have other types than expected, is
// one of an unknown shape, and no failure.
func parseLine(raw []byte) line {
	var l line
	_ = json.Unmarshal(raw, &l)
	return l
}

// isControl tells whether the line belongs to the conversation between CLI and worker rather than to the assistant's output.
func (l line) isControl() bool {
	switch l.Type {
	case "control_request", "control_response", "control_cancel_request", "keep_alive":
		return true
	}
	return false
}

func (l line) isInit() bool   { return l.Type == "system" && l.Subtype == "init" }
func (l line) isRetry() bool  { return l.Type == "system" && l.Subtype == "api_retry" }
func (l line) isResult() bool { return l.Type == "result" }

// model is the one that the line names; the CLI's own words in the assistant's place name none.
func (l line) model() string {
	switch {
	case l.isInit():
		return l.Model
	case l.Type == "assistant" && l.Message.Model != "<synthetic>":
		return l.Message.Model
	}
	return ""
}

// retryDelay is how long the CLI waits before it asks the API again: what the API asked for, or more.
func (l line) retryDelay() time.Duration {
	return time.Duration(min(max(l.RetryDelay, 0), float64(maxWait.Milliseconds()))) * time.Millisecond
}
