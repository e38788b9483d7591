// Package config turns environment variables into a checked Config. Its table is the only place that knows their names
// and defaults.
package config

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// Config is a worker's configuration, checked. Where a field has a default it is never empty.
type Config struct {
	Host string
	Port int // 0: any free one

	WorkspaceDir string // absolute
	StateDir     string // absolute; empty: a new temporary directory

	// Exactly one of StorageDir and MinIOEndpoint is set.
	StorageDir     string // absolute
	MinIOEndpoint  string // host:port
	MinIOAccessKey secret.String
	MinIOSecretKey secret.String
	MinIOUseSSL    bool
	MinIOBucket    string
	MinIORegion    string

	Provider         string        // for requests that name none; as written, a name or an alias
	Credential       secret.String // for Provider and no other; set only if Provider is
	GitHubToken      secret.String // for requests without a token of their own, to github.com and GitTokenHosts
	GitTokenHosts    []string      // as gitops.CheckTokenHost accepts them
	AnthropicBaseURL string        // empty: the provider's own
	OpenAIBaseURL    string        // with its /v1; empty: the provider's own
	ScriptProvider   bool          // the script provider may be used
	DatabaseURL      string        // of the clients' own database; empty: none

	MaxBodyBytes   int64
	APIKeys        []secret.String // any of them opens the API; none: it is open to whoever reaches Host
	CORSOrigins    []string        // of web pages that may use the API, as browsers send them
	AllowAnonymous bool            // anybody who reaches Host may spend Credential and GitHubToken

	BranchPrefix    string
	GitAuthorName   string
	GitAuthorEmail  string
	GitAllowHTTP    bool
	GitAllowedHosts []string // globs over host or host:port; empty: any host with a public address
	GitTimeout      time.Duration
	GitMaxBytes     int64

	AgentUID    int
	Sandbox     Sandbox
	JobTimeout  time.Duration
	IdleTimeout time.Duration
	StopGrace   time.Duration
	MinUptime   time.Duration // 0: none
	LeaseTTL    time.Duration
	SessionTTL  time.Duration // 0: sessions are kept
	SaveTimeout time.Duration
	LogLevel    zerolog.Level

	MetricsAddr   string        // host:port; empty: no metrics
	MetricsLinger time.Duration // 0: none
	TracesURL     string        // of an OpenTelemetry collector; empty: no traces
}

// Sandbox says what of the agent's sandbox there must be, and where it differs from the usual one.
type Sandbox struct {
	Mode           string   // one of the Sandbox constants
	Read           []string // absolute folders that the agent may read beside the system's and those of PATH
	ClosedPorts    []uint16 // TCP ports, beside the worker's own, to which the agent may not connect
	UserNamespaces bool     // the agent may make some
}

// The modes of a sandbox.
const (
	SandboxStrict = "strict" // a worker on a kernel that lacks a layer does not start
	SandboxBasic  = "basic"  // a layer that the kernel lacks is left out
	SandboxOff    = "off"    // there is none
)

// Variable describes one environment variable.
type Variable struct {
	Name    string
	Alias   string // read when Name is not set
	Default string // as it would be written; empty: none
	Doc     string
	Secret  bool // its value is never printed
}

// Variables returns every variable there is, in the order of the documentation.
func Variables() []Variable {
	vars := make([]Variable, 0, len(table))
	for _, e := range table {
		vars = append(vars, e.Variable)
	}
	return vars
}

// Error is everything that is wrong with a configuration at once.
type Error struct{ Problems []error }

// Error lists the problems, each on a line of its own; no secret's value is among them.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("the configuration cannot be used:")
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.Error())
	}
	return b.String()
}

// Unwrap gives errors.Is and errors.As the problems.
func (e *Error) Unwrap() []error { return e.Problems }

// Load reads every variable with getenv, for which an empty value is as good as none. Spaces around a value are dropped.
// A secret can stand in a file that the variable with _FILE behind its name names. All problems are reported together, as an *Error.
func Load(getenv func(string) string) (Config, error) {
	l := loader{getenv: getenv}
	l.readSecretFiles()
	for _, e := range table {
		l.read(e)
	}
	l.minio()
	l.storage()
	l.fallbacks()
	if len(l.problems) > 0 {
		return Config{}, &Error{l.problems}
	}
	return l.cfg, nil
}

type loader struct {
	getenv   func(string) string
	files    map[string]string // what the _FILE form of a secret brought, by the variable's name
	cfg      Config
	problems []error
}

func (l *loader) problem(format string, args ...any) {
	l.problems = append(l.problems, fmt.Errorf(format, args...))
}

// lookup returns what the environment says, and under which of the variable's names; no default.
func (l *loader) lookup(v Variable) (name, value string) {
	if value, ok := l.files[v.Name]; ok {
		return v.Name + fileSuffix, value
	}
	return l.plain(v)
}

func (l *loader) plain(v Variable) (name, value string) {
	for _, name := range []string{v.Name, v.Alias} {
		if name == "" {
			continue
		}
		if value := strings.TrimSpace(l.getenv(name)); value != "" {
			return name, value
		}
	}
	return v.Name, ""
}

func (l *loader) given(v Variable) string {
	_, value := l.lookup(v)
	return value
}

func (l *loader) read(e entry) {
	name, value := l.lookup(e.Variable)
	if value == "" {
		value = e.Default
	}
	if value == "" || e.set == nil {
		return
	}
	if err := e.set(&l.cfg, value); err != nil {
		if !e.Secret {
			name = fmt.Sprintf("%s=%q", name, shown(value))
		}
		l.problem("%s: %w", name, err)
	}
}

// shown is a value without the login and the query that somebody may have put into a URL: either can be a secret.
func shown(value string) string {
	if place, _, query := strings.Cut(value, "?"); query && strings.Contains(place, "://") {
		value = place + "?[redacted]"
	}
	if i := strings.LastIndex(value, "@"); i >= 0 {
		return "[redacted]" + value[i:]
	}
	return value
}

// minio puts together what the three variables of MinIO's address say.
func (l *loader) minio() {
	raw := l.given(minioEndpoint)
	if raw == "" {
		return
	}
	endpoint, scheme, err := parseEndpoint(raw, l.given(minioPort))
	if err != nil {
		l.problem("%s=%q: %w", minioEndpoint.Name, shown(raw), err)
		return
	}
	l.cfg.MinIOEndpoint = endpoint
	if scheme == "" {
		return
	}
	tls := scheme == "https"
	if told := l.given(minioUseSSL); told != "" && tls != l.cfg.MinIOUseSSL {
		l.problem("%s=%q and %s=%s contradict each other: drop one of them", minioEndpoint.Name, raw, minioUseSSL.Name, told)
	}
	l.cfg.MinIOUseSSL = tls
}

// storage checks that there is exactly one place for the sessions.
func (l *loader) storage() {
	endpoint, dir := l.given(minioEndpoint), l.given(storageDir)
	switch {
	case endpoint == "" && dir == "":
		l.problem("no storage: set %s (with %s and %s), or %s to keep the sessions in a directory",
			minioEndpoint.Name, minioAccessKey.Name, minioSecretKey.Name, storageDir.Name)
	case endpoint != "" && dir != "":
		l.problem("%s and %s are both set: sessions are kept in one place, drop one of them", minioEndpoint.Name, storageDir.Name)
	case endpoint != "":
		l.minioKeys()
	}
}

// knownSecret is what a MinIO without settings takes for its root user's.
const knownSecret = "minioadmin"

// minioKeys wants keys that strangers do not have.
func (l *loader) minioKeys() {
	for _, key := range []Variable{minioAccessKey, minioSecretKey} {
		if l.given(key) == "" {
			l.problem("%s is needed beside %s (%s is read too); there is no default: a known key is an open door",
				key.Name, minioEndpoint.Name, key.Alias)
		}
	}
	at, _, err := net.SplitHostPort(l.cfg.MinIOEndpoint)
	if err == nil && !loopback(at) && l.given(minioSecretKey) == knownSecret {
		l.problem("%s is MinIO's own default, which everybody knows, and %s=%s is not this machine: give MinIO a key that others do not have",
			minioSecretKey.Name, minioEndpoint.Name, at)
	}
}

// fallbacks makes sure that the worker's own credentials can be used, and not by strangers.
func (l *loader) fallbacks() {
	if !l.cfg.Credential.IsZero() && l.cfg.Provider == "" {
		l.problem("%s is used only for the provider that %s names: set that too", credential.Name, provider.Name)
	}
	if l.cfg.AllowAnonymous || len(l.cfg.APIKeys) > 0 || l.cfg.Host == "" || loopback(l.cfg.Host) {
		return
	}
	for _, v := range []Variable{credential, githubToken} {
		if l.given(v) != "" {
			l.problem("%s: anybody who reaches %s=%s could spend it: set %s, or %s=127.0.0.1, or %s=true if whoever gets there may",
				v.Name, host.Name, l.cfg.Host, apiKeys.Name, host.Name, allowAnonymous.Name)
		}
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
