package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// ErrCorrupt says that what is stored is not what a session has: damaged, or of a later version of this program.
var ErrCorrupt = errors.New("the stored session is corrupt")

// Status is how a session's latest job stands. A job whose worker died stays running until the next one.
type Status string

// The states of a session.
const (
	StatusRunning   Status = "running"
	StatusCompleted Status = "completed"
	StatusFailed    Status = "failed"

	statusDeleting Status = "deleting" // its objects are being removed, or were, by a worker that died over it
	statusDeleted  Status = "deleted"  // only this is left, with the number that no later attempt may use again
)

// schemaVersion is raised when an older worker must not touch what a newer one has stored.
const schemaVersion = 1

// Metadata is a session's one mutable object.
type Metadata struct {
	SchemaVersion     int           `json:"schemaVersion"`
	SessionID         string        `json:"sessionId"`
	SessionName       string        `json:"sessionName,omitempty"`
	Provider          string        `json:"provider,omitempty"`
	ProviderSessionID string        `json:"providerSessionId,omitempty"`
	CreatedAt         time.Time     `json:"createdAt"`
	UpdatedAt         time.Time     `json:"updatedAt"` // renewals of the lease do not count
	Status            Status        `json:"status"`
	Attempt           int           `json:"attempt"` // the latest one; each Acquire adds one
	Lease             *Holding      `json:"lease,omitempty"`
	Snapshot          *snapshot.Ref `json:"snapshot,omitempty"`
	GitHub            *GitHub       `json:"github,omitempty"`
	Usage             Usage         `json:"usage"`

	// ClosedThrough is the attempt up to which all are known to have ended, so that nobody looks at them again.
	ClosedThrough int `json:"closedThrough,omitempty"`
	// Nonce is another one after each move: by it a worker knows its own move when the answer was lost.
	Nonce string `json:"nonce"`
	// TakenFrom is the nonce of the move that the attempt's first one followed.
	TakenFrom string `json:"takenFrom,omitempty"`
}

// Holding says who may run the session.
type Holding struct {
	Holder  string `json:"holder"`
	Attempt int    `json:"attempt"`
}

// GitHub is the session's repository, on whatever host.
type GitHub struct {
	RepoURL    string `json:"repoUrl"`
	BaseBranch string `json:"baseBranch,omitempty"`
	Branch     string `json:"branch,omitempty"`
	ClonedPath string `json:"clonedPath,omitempty"` // of the checkout, below the workspace
	Head       string `json:"head,omitempty"`       // the session's latest commit
	Pushed     string `json:"pushed,omitempty"`     // the last commit that was seen on the remote
}

// Usage is what all jobs of a session have cost.
type Usage event.Usage

// Add counts the usage of one more job.
func (u *Usage) Add(job event.Usage) {
	u.InputTokens += job.InputTokens
	u.OutputTokens += job.OutputTokens
	u.CostUSD += job.CostUSD
}

// clone makes a copy that shares nothing.
func (m Metadata) clone() Metadata {
	m.Lease = cloneOf(m.Lease)
	m.GitHub = cloneOf(m.GitHub)
	if m.Snapshot = cloneOf(m.Snapshot); m.Snapshot != nil {
		m.Snapshot.Objects = slices.Clone(m.Snapshot.Objects)
	}
	return m
}

func cloneOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// snapshotObjects are the names of the current snapshot's objects, below the session's prefix.
func (m Metadata) snapshotObjects() []string {
	if m.Snapshot == nil {
		return nil
	}
	return m.Snapshot.Objects
}

// stored is metadata as it was read.
type stored struct {
	Metadata
	version string
	age     time.Duration
}

// maxMetadata is far over what a session needs.
const maxMetadata = 4 << 20

// read gets a session's metadata; the ID must be valid.
func (s *Sessions) read(ctx context.Context, id string) (stored, error) {
	ctx, cancel := s.try(ctx)
	defer cancel()
	data, info, err := s.get(ctx, metadataKey(id), maxMetadata)
	if err != nil {
		return stored{}, fmt.Errorf("read session %s: %w", id, err)
	}
	m := stored{version: info.Version, age: info.Age}
	if err := json.Unmarshal(data, &m.Metadata); err != nil {
		return stored{}, fmt.Errorf("read session %s: %w: %w", id, ErrCorrupt, err)
	}
	if !m.plausible(id) {
		return stored{}, fmt.Errorf("read session %s: %w: version %d, ID %q, attempt %d, closed through %d",
			id, ErrCorrupt, m.SchemaVersion, m.SessionID, m.Attempt, m.ClosedThrough)
	}
	return m, nil
}

// gone tells that there is no session any more, though there are metadata.
func (m Metadata) gone() bool { return m.Status == statusDeleting || m.Status == statusDeleted }

// present is read, for those to whom a deleted session does not exist.
func (s *Sessions) present(ctx context.Context, id string) (stored, error) {
	m, err := s.read(ctx, id)
	if err == nil && m.gone() {
		return stored{}, fmt.Errorf("read session %s: it was deleted: %w", id, ErrNotFound)
	}
	return m, err
}

func (m Metadata) plausible(id string) bool {
	return m.SchemaVersion == schemaVersion && m.SessionID == id &&
		m.Attempt >= 1 && m.ClosedThrough >= 0 && m.ClosedThrough <= m.Attempt
}

// get reads a small object whole.
func (s *Sessions) get(ctx context.Context, key string, limit int64) ([]byte, Info, error) {
	r, info, err := s.cfg.Store.Get(ctx, key)
	if err != nil {
		return nil, Info{}, err
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is over %d bytes: %w", key, limit, ErrCorrupt)
	}
	return data, info, err
}

// putMetadata moves the metadata, if cond holds.
func (s *Sessions) putMetadata(ctx context.Context, m Metadata, cond Condition) (version string, err error) {
	data, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode session %s: %w", m.SessionID, err)
	}
	ctx, cancel := s.try(ctx)
	defer cancel()
	return s.cfg.Store.PutIf(ctx, metadataKey(m.SessionID), append(data, '\n'), cond)
}
