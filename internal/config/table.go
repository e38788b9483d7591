package config

import (
	"math"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// entry is a variable and what it does to a Config; the value is never empty.
type entry struct {
	Variable
	set func(c *Config, value string) error
}

// The variables that are spoken of beyond their own line of the table.
var (
	host           = Variable{Name: "HOST", Default: "0.0.0.0", Doc: "address to listen on"}
	storageDir     = Variable{Name: "STORAGE_DIR", Doc: "directory to keep the sessions in, instead of MinIO"}
	minioEndpoint  = Variable{Name: "MINIO_ENDPOINT", Doc: "MinIO's address: host, host:port or URL"}
	minioPort      = Variable{Name: "MINIO_PORT", Doc: "MinIO's port; wins over that of `MINIO_ENDPOINT` (without either: 9000, for a URL its scheme's)"}
	minioAccessKey = Variable{Name: "MINIO_ACCESS_KEY", Alias: "MINIO_ROOT_USER", Doc: "MinIO's access key; no default", Secret: true}
	minioSecretKey = Variable{Name: "MINIO_SECRET_KEY", Alias: "MINIO_ROOT_PASSWORD", Doc: "MinIO's secret key; no default, and `minioadmin` for a MinIO on this machine only", Secret: true}
	minioUseSSL    = Variable{Name: "MINIO_USE_SSL", Default: "false", Doc: "talk to MinIO over TLS; an `https` URL says so too"}
	provider       = Variable{Name: "CODING_ASSISTANT_PROVIDER", Doc: "provider for requests that name none"}
	credential     = Variable{
		Name: "CODING_ASSISTANT_AUTHENTICATION", Secret: true,
		Doc: "credential for requests to `CODING_ASSISTANT_PROVIDER` that bring none",
	}
	githubToken = Variable{Name: "GITHUB_ACCESS_TOKEN", Doc: "token for repositories on github.com and the next line's hosts in requests that bring none", Secret: true}
	apiKeys     = Variable{
		Name: "API_KEYS", Secret: true,
		Doc: "keys that open the API, between commas or on lines of their own, 16 characters or more each; not set: it is open to whoever reaches the port",
	}
	allowAnonymous = Variable{
		Name: "ALLOW_ANONYMOUS", Default: "false",
		Doc: "allow the two fallback credentials above without `API_KEYS` although `HOST` is no loopback address: whoever reaches the port can spend them",
	}
)

// table is every variable, in the order of the documentation. Those without a function are read together with others.
var table = []entry{
	{host, text(func(c *Config) *string { return &c.Host }, checkHost)},
	{
		Variable{Name: "PORT", Default: "5000", Doc: "port to listen on; 0 is any free one"},
		whole(func(c *Config) *int { return &c.Port }, 0, math.MaxUint16),
	},
	{
		Variable{Name: "WORKSPACE_DIR", Alias: "TMP_DIR", Default: "/workspace", Doc: "where workspaces are made, as the agent"},
		text(func(c *Config) *string { return &c.WorkspaceDir }, checkAbs),
	},
	{
		Variable{Name: "STATE_DIR", Doc: "the worker's own files, closed to the agent; not set: a new temporary directory"},
		text(func(c *Config) *string { return &c.StateDir }, checkAbs),
	},
	{minioEndpoint, nil},
	{minioPort, whole(func(*Config) *int { return new(int) }, 1, math.MaxUint16)},
	{minioAccessKey, hidden(func(c *Config) *secret.String { return &c.MinIOAccessKey })},
	{minioSecretKey, hidden(func(c *Config) *secret.String { return &c.MinIOSecretKey })},
	{minioUseSSL, boolean(func(c *Config) *bool { return &c.MinIOUseSSL })},
	{
		Variable{Name: "MINIO_BUCKET", Default: "sessions", Doc: "bucket; made if it is missing"},
		text(func(c *Config) *string { return &c.MinIOBucket }, checkBucket),
	},
	{
		Variable{Name: "MINIO_REGION", Default: "us-east-1", Doc: "region"},
		text(func(c *Config) *string { return &c.MinIORegion }),
	},
	{storageDir, text(func(c *Config) *string { return &c.StorageDir }, checkAbs)},
	{provider, text(func(c *Config) *string { return &c.Provider }, checkProvider)},
	{credential, hidden(func(c *Config) *secret.String { return &c.Credential })},
	{githubToken, hidden(func(c *Config) *secret.String { return &c.GitHubToken })},
	{
		Variable{Name: "GIT_TOKEN_HOSTS", Doc: "hosts between commas to which `GITHUB_ACCESS_TOKEN` may go beside github.com: whole names, " +
			"each for https on its usual port, or with a port for that one"},
		list(func(c *Config) *[]string { return &c.GitTokenHosts }, gitops.CheckTokenHost),
	},
	{apiKeys, keys(func(c *Config) *[]secret.String { return &c.APIKeys })},
	{
		Variable{Name: "CORS_ORIGINS", Doc: "origins, between commas, of the web pages that may use the API from a browser, such as `https://app.example.com`; not set: none"},
		list(func(c *Config) *[]string { return &c.CORSOrigins }, checkOrigin),
	},
	{allowAnonymous, boolean(func(c *Config) *bool { return &c.AllowAnonymous })},
	{
		Variable{Name: "ANTHROPIC_BASE_URL", Doc: "the model's API for `claude-code`: a company's gateway, or a test's"},
		text(func(c *Config) *string { return &c.AnthropicBaseURL }, checkURL),
	},
	{
		Variable{Name: "OPENAI_BASE_URL", Doc: "the same for `codex`, with its `/v1`"},
		text(func(c *Config) *string { return &c.OpenAIBaseURL }, checkURL),
	},
	{
		Variable{Name: "DB_BASE_URL", Doc: "a database of your own, to which the events of jobs with a `database` go, too; see [API.md](API.md#database)"},
		text(func(c *Config) *string { return &c.DatabaseURL }, checkURL),
	},
	{
		Variable{Name: "MAX_BODY_BYTES", Default: "33554432", Doc: "largest request body, in bytes"},
		whole(func(c *Config) *int64 { return &c.MaxBodyBytes }, 1, math.MaxInt64),
	},
	{
		Variable{Name: "BRANCH_PREFIX", Default: "aicw", Doc: "first part of a session's branch"},
		text(func(c *Config) *string { return &c.BranchPrefix }, checkPrefix),
	},
	{
		Variable{Name: "GIT_AUTHOR_NAME", Default: "AI Coding Worker", Doc: "author and committer of commits"},
		text(func(c *Config) *string { return &c.GitAuthorName }, checkIdentity),
	},
	{
		Variable{Name: "GIT_AUTHOR_EMAIL", Default: "aicw@localhost", Doc: "their address"},
		text(func(c *Config) *string { return &c.GitAuthorEmail }, checkIdentity),
	},
	{
		Variable{Name: "GIT_ALLOW_HTTP", Default: "false", Doc: "allow repositories over plain http"},
		boolean(func(c *Config) *bool { return &c.GitAllowHTTP }),
	},
	{
		Variable{Name: "GIT_ALLOWED_HOSTS", Doc: "hosts of repositories, as globs between commas, each with a port or without; " +
			"not set: any with a public address (one without must be named here)"},
		list(func(c *Config) *[]string { return &c.GitAllowedHosts }, checkGlob),
	},
	{
		Variable{Name: "GIT_TIMEOUT", Default: "10m", Doc: "longest clone, longest fetch for a resume, and longest push of a job that nobody told to end"},
		positive(func(c *Config) *time.Duration { return &c.GitTimeout }),
	},
	{
		Variable{Name: "GIT_MAX_BYTES", Default: "2147483648", Doc: "largest clone, in bytes of what is transferred and of the files that it unpacks to; and most that one push brings"},
		whole(func(c *Config) *int64 { return &c.GitMaxBytes }, 1, math.MaxInt64/2),
	},
	{
		Variable{Name: "AGENT_UID", Default: "10001", Doc: "user ID of the agent, where the worker is root"},
		whole(func(c *Config) *int { return &c.AgentUID }, 1, math.MaxInt32),
	},
	{
		Variable{Name: "SANDBOX", Default: SandboxBasic, Doc: "the agent's [sandbox](#security-in-short): `strict` does not start where the kernel lacks a layer of it, `basic` goes without, `off` has none"},
		oneOf(func(c *Config) *string { return &c.Sandbox.Mode }, SandboxStrict, SandboxBasic, SandboxOff),
	},
	{
		Variable{Name: "SANDBOX_READ", Doc: "folders, between commas, that the agent may read beside those of the system and of `PATH`"},
		list(func(c *Config) *[]string { return &c.Sandbox.Read }, checkAbs),
	},
	{
		Variable{Name: "SANDBOX_CLOSED_PORTS", Default: "80,2375,2376,2377,5001", Doc: "TCP ports, between commas, to which the agent cannot connect, on any host; those of the worker, of MinIO, of metrics and of traces are closed too"},
		ports(func(c *Config) *[]uint16 { return &c.Sandbox.ClosedPorts }),
	},
	{
		Variable{Name: "SANDBOX_USER_NAMESPACES", Default: "false", Doc: "allow the agent new user namespaces, which sandboxes of its own (a browser's) need"},
		boolean(func(c *Config) *bool { return &c.Sandbox.UserNamespaces }),
	},
	{
		Variable{Name: "JOB_TIMEOUT", Default: "30m", Doc: "longest run of the agent; what it did until then is saved"},
		positive(func(c *Config) *time.Duration { return &c.JobTimeout }),
	},
	{
		Variable{Name: "IDLE_TIMEOUT", Default: "10m", Doc: "longest silence of the agent; a tool that it runs may be silent for longer"},
		positive(func(c *Config) *time.Duration { return &c.IdleTimeout }),
	},
	{
		Variable{Name: "STOP_GRACE", Default: "30s", Doc: "from SIGTERM to the exit: the time left to stop the agent, save and push"},
		positive(func(c *Config) *time.Duration { return &c.StopGrace }),
	},
	{
		Variable{Name: "MIN_UPTIME", Default: "0s", Doc: "a worker whose job ends sooner waits for so long before it exits: to Swarm a task that ends soon after its start is a failed update"},
		notNegative(func(c *Config) *time.Duration { return &c.MinUptime }),
	},
	{
		Variable{Name: "LEASE_TTL", Default: "60s", Doc: "how long a silent worker keeps its session"},
		positive(func(c *Config) *time.Duration { return &c.LeaseTTL }),
	},
	{
		Variable{Name: "SESSION_TTL", Default: "0s", Doc: "sessions that nobody has used for so long are deleted by idle workers, a few at a time (`720h` are 30 days); 0: none is"},
		notNegative(func(c *Config) *time.Duration { return &c.SessionTTL }),
	},
	{
		Variable{Name: "SAVE_TIMEOUT", Default: "2m", Doc: "how long a restore and the end of a job try to reach storage. A save that moves on may take longer, unless the job was told to end (abort, SIGTERM)"},
		positive(func(c *Config) *time.Duration { return &c.SaveTimeout }),
	},
	{
		Variable{Name: "SCRIPT_PROVIDER", Default: "false", Doc: "allow the `script` provider, which runs requests as shell scripts"},
		boolean(func(c *Config) *bool { return &c.ScriptProvider }),
	},
	{
		Variable{Name: "METRICS_ADDR", Doc: "`host:port` at which Prometheus finds `/metrics`, without a key; not set: none"},
		text(func(c *Config) *string { return &c.MetricsAddr }, checkAddr),
	},
	{
		Variable{Name: "METRICS_LINGER", Default: "15s", Doc: "how long a worker with metrics whose job is over waits for them to be scraped once more"},
		notNegative(func(c *Config) *time.Duration { return &c.MetricsLinger }),
	},
	{
		Variable{Name: "OTEL_EXPORTER_OTLP_ENDPOINT", Doc: "an OpenTelemetry collector (OTLP over HTTP), which gets a [trace](#traces) of each job; not set: none"},
		text(func(c *Config) *string { return &c.TracesURL }, checkURL),
	},
	{Variable{Name: "LOG_LEVEL", Default: "info", Doc: "trace, debug, info, warn, error or disabled"}, logLevel},
}
