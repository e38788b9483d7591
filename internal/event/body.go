package event

import "encoding/json"

// The types of the wire.
const (
	TypeConnected        = "connected"
	TypeMessage          = "message"
	TypePullProgress     = "github_pull_progress"
	TypeSessionName      = "session_name"
	TypeBranchCreated    = "branch_created"
	TypeAssistantMessage = "assistant_message"
	TypeCommitProgress   = "commit_progress"
	TypeCompleted        = "completed"
	TypeError            = "error"
)

// Types are all types of the wire.
func Types() []string {
	return []string{
		TypeConnected, TypeMessage, TypePullProgress, TypeSessionName, TypeBranchCreated,
		TypeAssistantMessage, TypeCommitProgress, TypeCompleted, TypeError,
	}
}

// Connected is a job's first event.
type Connected struct {
	SessionID   string `json:"sessionId"`
	Resuming    bool   `json:"resuming"`
	ResumedFrom string `json:"resumedFrom,omitempty"`
	Provider    string `json:"provider"` // as the request spelled it
	ContainerID string `json:"containerId"`
}

// Notice is progress in words; on the wire its type is "message".
type Notice struct {
	Message string `json:"message"`
	Stage   string `json:"stage,omitempty"`
}

// PullProgress tells of a clone or a fetch, at least every second while it runs.
type PullProgress struct {
	Data PullData `json:"data"`
}

// PullData is the nested object of PullProgress.
type PullData struct {
	Type       string `json:"type"` // PullMessage or PullCompleted
	Message    string `json:"message,omitempty"`
	TargetPath string `json:"targetPath,omitempty"`
	Percent    *int   `json:"percent,omitempty"`
}

// The kinds of PullData.
const (
	PullMessage   = "message"
	PullCompleted = "completed"
)

// SessionName comes once for each new session, before the provider starts.
type SessionName struct {
	SessionName string `json:"sessionName"`
	BranchName  string `json:"branchName,omitempty"`
}

// BranchCreated comes once for each new session that has a repository.
type BranchCreated struct {
	BranchName   string `json:"branchName"`
	BaseBranch   string `json:"baseBranch"`
	ParentBranch string `json:"parentBranch"` // the same as BaseBranch; older clients read this one
	SessionPath  string `json:"sessionPath"`  // owner__repo__branch
	Message      string `json:"message"`
}

// AssistantMessage is one line of the agent, verbatim but for its secrets.
type AssistantMessage struct {
	Data  json.RawMessage `json:"data"`
	Model string          `json:"model,omitempty"`
}

// CommitProgress is one stage of commit and push.
type CommitProgress struct {
	Stage         string `json:"stage"`
	Message       string `json:"message"`
	Branch        string `json:"branch,omitempty"`
	CommitMessage string `json:"commitMessage,omitempty"`
	CommitHash    string `json:"commitHash,omitempty"`
	Error         string `json:"error,omitempty"`
}

// The stages of CommitProgress, in order; with nothing to commit they are analyzing and skipped.
const (
	StageAnalyzing         = "analyzing"
	StageCreatingBranch    = "creating_branch"
	StageGeneratingMessage = "generating_message"
	StageCommitting        = "committing"
	StageCommitted         = "committed"
	StagePushing           = "pushing"
	StagePushed            = "pushed"
	StagePushFailed        = "push_failed"
	StageCompleted         = "completed"
	StageSkipped           = "skipped"
)

// Completed is the last event of a job that succeeded.
type Completed struct {
	SessionID  string `json:"sessionId"`
	DurationMS int64  `json:"duration_ms"`
	Branch     string `json:"branch,omitempty"`
	CommitHash string `json:"commitHash,omitempty"`
	Pushed     *bool  `json:"pushed,omitempty"`
	Usage      *Usage `json:"usage,omitempty"`
}

// Usage is what a run cost.
type Usage struct {
	InputTokens  int64   `json:"inputTokens"`
	OutputTokens int64   `json:"outputTokens"`
	CostUSD      float64 `json:"costUsd"`
}

// Failed is the last event of a job that did not succeed; on the wire its type is "error".
type Failed struct {
	Error      string `json:"error"`
	Code       Code   `json:"code"`
	SessionID  string `json:"sessionId,omitempty"`
	Branch     string `json:"branch,omitempty"`
	CommitHash string `json:"commitHash,omitempty"`
	Pushed     *bool  `json:"pushed,omitempty"`
	RetryAfter int    `json:"retryAfter,omitempty"` // seconds
}

// Code names a failure by its cause; clients decide by it.
type Code string

// The codes of the contract.
const (
	InvalidRequest      Code = "invalid_request"
	UnsupportedProvider Code = "unsupported_provider"
	SessionNotFound     Code = "session_not_found"
	SessionBusy         Code = "session_busy"
	Busy                Code = "busy"
	ShuttingDown        Code = "shutting_down"
	AuthError           Code = "auth_error"
	RateLimited         Code = "rate_limited"
	RepoNotFound        Code = "repo_not_found"
	BranchNotFound      Code = "branch_not_found"
	GitAuthError        Code = "git_auth_error"
	CloneFailed         Code = "clone_failed"
	PushRejected        Code = "push_rejected"
	ProviderError       Code = "provider_error"
	Timeout             Code = "timeout"
	Aborted             Code = "aborted"
	OutOfMemory         Code = "out_of_memory"
	StorageError        Code = "storage_error"
	SessionCorrupt      Code = "session_corrupt"
	WorkerLost          Code = "worker_lost"
	InternalError       Code = "internal_error"
)

// Type implements Body.
func (Connected) Type() string { return TypeConnected }

// Type implements Body.
func (Notice) Type() string { return TypeMessage }

// Type implements Body.
func (PullProgress) Type() string { return TypePullProgress }

// Type implements Body.
func (SessionName) Type() string { return TypeSessionName }

// Type implements Body.
func (BranchCreated) Type() string { return TypeBranchCreated }

// Type implements Body.
func (AssistantMessage) Type() string { return TypeAssistantMessage }

// Type implements Body.
func (CommitProgress) Type() string { return TypeCommitProgress }

// Type implements Body.
func (Completed) Type() string { return TypeCompleted }

// Type implements Body.
func (Failed) Type() string { return TypeError }

func (Connected) sealed()        {}
func (Notice) sealed()           {}
func (PullProgress) sealed()     {}
func (SessionName) sealed()      {}
func (BranchCreated) sealed()    {}
func (AssistantMessage) sealed() {}
func (CommitProgress) sealed()   {}
func (Completed) sealed()        {}
func (Failed) sealed()           {}
