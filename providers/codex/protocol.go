package codex

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// The requests of a run, in their order. The protocol is JSON-RPC 2.0 without the member that says so.
const (
	requestInitialize = iota + 1
	requestLogin
	requestThread
	requestTurn
	requestInterrupt
)

// request is a call, or, without an ID, a notification.
type request struct {
	ID     int    `json:"id,omitempty"`
	Method string `json:"method"`
	Params any    `json:"params,omitempty"`
}

type object = map[string]any

// unwanted are notifications that the CLI is asked not to send: pieces of what comes whole later, in which a secret could be
// split, and what is between it and its account.
var unwanted = []string{
	"item/agentMessage/delta", "item/plan/delta",
	"item/reasoning/summaryTextDelta", "item/reasoning/summaryPartAdded", "item/reasoning/textDelta",
	"item/commandExecution/outputDelta", "item/fileChange/outputDelta", "item/fileChange/patchUpdated",
	"item/mcpToolCall/progress",
	"account/updated", "account/login/completed", "account/rateLimits/updated",
	"remoteControl/status/changed", "configWarning",
	"thread/started", "thread/status/changed", "thread/readState/changed", "thread/name/updated",
}

func initialize() []request {
	return []request{
		{ID: requestInitialize, Method: "initialize", Params: object{
			"clientInfo":   object{"name": "ai-coding-worker", "version": "1"},
			"capabilities": object{"experimentalApi": true, "optOutNotificationMethods": unwanted},
		}},
		{Method: "initialized"},
	}
}

func login(c Credential) request {
	params := object{"type": "apiKey", "apiKey": c.Token.Reveal()}
	if c.AccountID != "" {
		params = object{"type": "chatgptAuthTokens", "accessToken": c.Token.Reveal(), "chatgptAccountId": c.AccountID}
	}
	return request{ID: requestLogin, Method: "account/login/start", Params: params}
}

func thread(t providers.Task, instructions string) request {
	params := object{"cwd": t.Dir, "approvalPolicy": "never", "sandbox": sandbox(t.Options)}
	if t.Options.Model != "" {
		params["model"] = t.Options.Model
	}
	if instructions != "" {
		params["developerInstructions"] = instructions
	}
	method := "thread/start"
	if t.ResumeID != "" {
		method = "thread/resume"
		params["threadId"] = t.ResumeID
	}
	return request{ID: requestThread, Method: method, Params: params}
}

func turn(threadID string, p providers.Prompt) request {
	input := make([]any, 0, len(p.Blocks))
	for _, b := range p.Blocks {
		if b.MediaType == "" {
			input = append(input, object{"type": "text", "text": b.Text})
			continue
		}
		input = append(input, object{"type": "image", "url": "data:" + b.MediaType + ";base64," + base64.StdEncoding.EncodeToString(b.Data)})
	}
	return request{ID: requestTurn, Method: "turn/start", Params: object{"threadId": threadID, "input": input}}
}

func interrupt(threadID, turnID string) request {
	return request{ID: requestInterrupt, Method: "turn/interrupt", Params: object{"threadId": threadID, "turnId": turnID}}
}

// refusal answers what the CLI asks its host: nobody is there.
func refusal(id json.RawMessage, method string) any {
	return object{"id": id, "error": object{"code": -32601, "message": fmt.Sprintf("nobody is here to answer %q", method)}}
}

// line is what the worker reads of the lines that the CLI prints: an answer, a request, or a notification.
type line struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params params          `json:"params"`
	Result struct {
		Model  string `json:"model"`
		Thread struct {
			ID string `json:"id"`
		} `json:"thread"`
		Turn struct {
			ID string `json:"id"`
		} `json:"turn"`
	} `json:"result"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// params are those of the notifications that say something of the run.
type params struct {
	ThreadID string `json:"threadId"`
	TurnID   string `json:"turnId"`
	Turn     struct {
		ID     string   `json:"id"`
		Status string   `json:"status"`
		Error  *failure `json:"error"`
	} `json:"turn"`
	Item struct {
		Type string `json:"type"`
		ID   string `json:"id"`
		Text string `json:"text"`
	} `json:"item"`
	TokenUsage struct {
		Total usage `json:"total"`
		Last  usage `json:"last"` // of the last answer alone
	} `json:"tokenUsage"`
	Error     *failure `json:"error"`
	WillRetry bool     `json:"willRetry"`
}

type usage struct {
	Input  int64 `json:"inputTokens"`
	Output int64 `json:"outputTokens"`
}

func (u usage) minus(v usage) usage {
	return usage{Input: u.Input - v.Input, Output: u.Output - v.Output}
}

// parseLine reads what it can: a line that is not an object, or whose members have other types than expected, is one of an
// unknown shape, and no failure.
func parseLine(raw []byte) line {
	var l line
	_ = json.Unmarshal(raw, &l)
	return l
}

// encode makes lines of the values.
func encode(values ...any) ([]byte, error) {
	var out []byte
	for _, v := range values {
		one, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode a line for codex: %w", err)
		}
		out = append(append(out, one...), '\n')
	}
	return out, nil
}
