package worker

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
	"github.com/ai-coding-worker/ai-coding-worker/internal/database"
	"github.com/ai-coding-worker/ai-coding-worker/internal/httpapi"
	"github.com/ai-coding-worker/ai-coding-worker/internal/localpeer"
	"github.com/ai-coding-worker/ai-coding-worker/internal/metrics"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/internal/tracing"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers/all"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// endTimeout bounds the commit of a run that is over, and the push of one that was told to end.
const endTimeout = 2 * time.Minute

// parts are what lives as long as the worker.
type parts struct {
	server   *httpapi.Server
	database *database.Client // nil: there is none
	metrics  *metrics.Metrics // nil: there are none
	traces   *tracing.Traces  // nil: there are none
	sweeper  sweeper
}

// flushTimeout is how long a worker whose job is over still tries to tell others of it.
const flushTimeout = 5 * time.Second

// flush lets what is on its way to others arrive, unless it takes too long or ctx ends.
func (p *parts) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	var flushing sync.WaitGroup
	if p.database != nil {
		flushing.Go(func() { p.database.Close(ctx) })
	}
	if p.traces != nil {
		flushing.Go(func() { p.traces.Close(ctx) })
	}
	flushing.Wait()
}

// build makes the parts and hands each what it needs. Nothing is asked of storage or of any other host yet, so a worker
// answers /health whatever is away.
func build(
	ctx context.Context, cfg config.Config, opts Options, state string, agents func(context.Context) (*agentproc.Agent, error),
) (*parts, error) {
	store, kind, err := openStore(cfg)
	if err != nil {
		return nil, err
	}
	container, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this container: %w", err)
	}
	sessions := storage.NewSessions(storage.Config{
		Store: store, Holder: container + "/" + uuid.NewString(), LeaseTTL: cfg.LeaseTTL, Log: opts.Log,
	})
	git := gitops.New(gitops.Config{
		StateDir: state, Path: opts.Path, AllowHTTP: cfg.GitAllowHTTP, AllowedHosts: cfg.GitAllowedHosts,
		AuthorName: cfg.GitAuthorName, AuthorEmail: cfg.GitAuthorEmail,
		Limits: gitops.Limits{Time: cfg.GitTimeout, Bytes: cfg.GitMaxBytes}, Env: opts.Certificates,
	})
	registry := all.New(all.Config{
		Script:     cfg.ScriptProvider,
		ClaudePath: agentproc.LookPath("claude", opts.Path), CodexPath: agentproc.LookPath("codex", opts.Path),
	})
	p := &parts{}
	sink, err := p.openDatabase(cfg)
	if err != nil {
		return nil, err
	}
	observers, err := p.openObservers(ctx, cfg, opts, registry.Names(), container)
	if err != nil {
		return nil, err
	}
	jobs := orchestrator.New(orchestrator.Config{
		Sessions: sessions, Git: git, Snapshots: snapshot.Tar{},
		Workspaces: cfg.WorkspaceDir, StateDir: state,
		Agents:   agents,
		Secrets:  append([]secret.String{cfg.MinIOAccessKey, cfg.MinIOSecretKey, cfg.Credential, cfg.GitHubToken}, cfg.APIKeys...),
		GitToken: ownToken(cfg.GitHubToken, cfg.GitTokenHosts), Database: sink, Observers: observers, BranchPrefix: cfg.BranchPrefix, ContainerID: container,
		JobTimeout: cfg.JobTimeout, IdleTimeout: cfg.IdleTimeout, SaveTimeout: cfg.SaveTimeout,
		PushTimeout: cfg.GitTimeout, EndTimeout: endTimeout,
		Now: time.Now, NewID: uuid.NewString, Log: opts.Log,
	})
	p.server = httpapi.New(httpapi.Config{
		Runner: jobs, Sessions: sessions, Snapshots: snapshot.Tar{}, Providers: registry,
		DefaultProvider: cfg.Provider, DefaultCredential: cfg.Credential,
		BaseURLs:     map[string]string{"claude-code": cfg.AnthropicBaseURL, "codex": cfg.OpenAIBaseURL},
		CheckRepoURL: git.CheckURL, HasDatabase: sink != nil, APIKeys: cfg.APIKeys, Origins: cfg.CORSOrigins, MaxBody: cfg.MaxBodyBytes, StopGrace: cfg.StopGrace, Hurry: opts.Hurry, Storage: kind,
		Guard: guard(cfg), ContainerID: container, Version: opts.Version, Sandbox: told(cfg.Sandbox), Now: time.Now, Log: opts.Log,
	})
	p.sweeper = sweeper{sessions: sessions, ttl: cfg.SessionTTL, idle: p.server.Idle, log: opts.Log}
	return p, nil
}

// guard keeps the agent from the worker's ports. Where both are one user, nobody can tell their connections apart.
func guard(cfg config.Config) *localpeer.Guard {
	if os.Geteuid() != 0 {
		return nil
	}
	return localpeer.NewGuard(uint32(cfg.AgentUID))
}

// openDatabase is nil where none is configured.
func (p *parts) openDatabase(cfg config.Config) (_ orchestrator.Sink, err error) {
	if cfg.DatabaseURL == "" {
		return nil, nil
	}
	p.database, err = database.New(database.Config{BaseURL: cfg.DatabaseURL})
	if err != nil {
		return nil, fmt.Errorf("open DB_BASE_URL: %w", err)
	}
	return p.database, nil
}

// openStore makes the store and says what it is called in answers.
func openStore(cfg config.Config) (store storage.Store, kind string, err error) {
	if cfg.StorageDir != "" {
		store, err = storage.NewDir(cfg.StorageDir)
		if err != nil {
			return nil, "", fmt.Errorf("open STORAGE_DIR: %w", err)
		}
		return store, "directory", nil
	}
	store, err = storage.NewMinIO(storage.MinIOConfig{
		Endpoint: cfg.MinIOEndpoint, AccessKey: cfg.MinIOAccessKey, SecretKey: cfg.MinIOSecretKey,
		UseSSL: cfg.MinIOUseSSL, Bucket: cfg.MinIOBucket, Region: cfg.MinIORegion,
	})
	if err != nil {
		return nil, "", fmt.Errorf("open MINIO_ENDPOINT: %w", err)
	}
	return store, "minio", nil
}

// ownToken gives the worker's own token for repositories on github.com and on the hosts that were named, and on no other.
func ownToken(token secret.String, named []string) func(string) secret.String {
	hosts := append(gitops.TokenHosts{"github.com"}, named...)
	return func(repoURL string) secret.String {
		if hosts.Allow(repoURL) {
			return token
		}
		return secret.String{}
	}
}
