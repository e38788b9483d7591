package client

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// Request is one job. Fields left empty are not sent, so the worker's defaults apply.
type Request struct {
	Text       string // what the agent shall do
	Images     []Image
	Provider   string        // a name or alias
	Credential secret.String // for the provider: a raw key or JSON
	SessionID  string        // empty: a new session
	MustExist  bool          // an unknown SessionID is an error instead of a new session with that ID
	Repo       *Repo
	NoCommit   bool // leave the work uncommitted
	Options    Options
}

// Image is a picture that belongs to the request.
type Image struct {
	MediaType string // image/jpeg, image/png, image/gif or image/webp
	Data      []byte
}

// Repo is the repository to work on.
type Repo struct {
	URL       string
	Branch    string // empty: the remote's default
	Directory string // empty: named after the repository
	Token     secret.String
}

// Options tell the provider how to run.
type Options struct {
	Model          string `json:"model,omitempty"`
	PermissionMode string `json:"permissionMode,omitempty"`
	MaxTurns       int    `json:"maxTurns,omitempty"`
}

// wireRequest is the body of POST /execute.
type wireRequest struct {
	UserRequest      any       `json:"userRequest"`
	Provider         string    `json:"codingAssistantProvider,omitempty"`
	Credential       string    `json:"codingAssistantAuthentication,omitempty"`
	WebsiteSessionID string    `json:"websiteSessionId,omitempty"`
	ResumeSessionID  string    `json:"resumeSessionId,omitempty"`
	GitHub           *wireRepo `json:"github,omitempty"`
	AutoCommit       *bool     `json:"autoCommit,omitempty"`
	Options          *Options  `json:"providerOptions,omitempty"`
}

type wireRepo struct {
	RepoURL     string `json:"repoUrl"`
	Branch      string `json:"branch,omitempty"`
	Directory   string `json:"directory,omitempty"`
	AccessToken string `json:"accessToken,omitempty"`
}

type wireBlock struct {
	Type   string      `json:"type"`
	Text   string      `json:"text,omitempty"`
	Source *wireSource `json:"source,omitempty"`
}

type wireSource struct {
	Type      string `json:"type"`
	MediaType string `json:"media_type"`
	Data      []byte `json:"data"` // encoding/json writes base64
}

// encode makes the body. It holds the secrets in clear.
func (r Request) encode() ([]byte, error) {
	if r.SessionID != "" {
		if err := checkID(r.SessionID); err != nil {
			return nil, err
		}
	}
	w := wireRequest{UserRequest: r.userRequest(), Provider: r.Provider, Credential: r.Credential.Reveal()}
	if r.MustExist {
		w.ResumeSessionID = r.SessionID
	} else {
		w.WebsiteSessionID = r.SessionID
	}
	if r.Repo != nil {
		w.GitHub = &wireRepo{RepoURL: r.Repo.URL, Branch: r.Repo.Branch, Directory: r.Repo.Directory, AccessToken: r.Repo.Token.Reveal()}
	}
	if r.NoCommit {
		w.AutoCommit = new(bool)
	}
	if r.Options != (Options{}) {
		w.Options = &r.Options
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(w); err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return buf.Bytes(), nil
}

// userRequest is a string, or blocks where there are images.
func (r Request) userRequest() any {
	if len(r.Images) == 0 {
		return r.Text
	}
	blocks := []wireBlock{{Type: "text", Text: r.Text}}
	for _, image := range r.Images {
		blocks = append(blocks, wireBlock{Type: "image", Source: &wireSource{Type: "base64", MediaType: image.MediaType, Data: image.Data}})
	}
	return blocks
}
