// Package httpapi is the worker's HTTP surface: it decodes and checks a request, takes the worker's one slot, hands the
// job to a Runner and streams its event log to any number of readers. Nothing below it serves HTTP.
package httpapi

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/rs/cors"
	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
	"github.com/ai-coding-worker/ai-coding-worker/internal/localpeer"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
	"github.com/ai-coding-worker/ai-coding-worker/orchestrator"
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

// Runner does one whole job. An error before ready was called means that the job did not begin, and the worker is as
// free as before; one after it is the worker's own fault.
type Runner interface {
	Run(ctx context.Context, job orchestrator.Job, ready func(orchestrator.Started)) error
}

// Sessions is what the endpoints need of the session store; storage.Sessions says what each method promises.
type Sessions interface {
	Ping(ctx context.Context) error
	Metadata(ctx context.Context, id string) (storage.Metadata, error)
	List(ctx context.Context, cursor string, limit int) (sessions []storage.Metadata, next string, err error)
	Events(ctx context.Context, id string, after event.ID, emit func(line []byte) error) error
	Follow(ctx context.Context, id string, after event.ID, emit func(line []byte) error) error
	RequestAbort(ctx context.Context, id string) (running bool, err error)
	Delete(ctx context.Context, id string) error
	Snapshot(ctx context.Context, id string) (*snapshot.Ref, snapshot.Getter, error)
}

// Config is what a Server works with.
type Config struct {
	Runner            Runner
	Sessions          Sessions
	Snapshots         Snapshots
	Providers         *providers.Registry
	DefaultProvider   string            // for requests that name none; empty: they must
	DefaultCredential secret.String     // only ever for DefaultProvider
	BaseURLs          map[string]string // of the models' APIs, by canonical provider name
	CheckRepoURL      func(string) error
	HasDatabase       bool            // jobs may name a session in the client's own database
	APIKeys           []secret.String // any of them opens the API; none: it is open
	Origins           []string        // of the web pages that may use the API, as browsers send them, in lower case; none: no page may
	MaxBody           int64           // bytes; 0: 32 MiB
	StopGrace         time.Duration   // from the end of Serve's context to its return, at most; 0: 30 s
	Hurry             <-chan struct{} // closed: a job that goes on after the end of Serve's context is stopped now; nil: never
	Storage           string          // what the sessions listing calls the store: "minio", "directory"
	ContainerID       string
	Sandbox           Sandbox
	Version           string
	Guard             *localpeer.Guard // says whose connections Serve refuses; nil: nobody's
	Now               func() time.Time
	Log               zerolog.Logger
	Timing            Timing
}

// Sandbox is what /health tells of the agent's.
type Sandbox struct {
	Mode    string   `json:"mode"`
	Missing []string `json:"missing"` // the layers that the kernel lacks
}

// Timing bounds what clients may take. Its zero value is what a worker uses.
type Timing struct {
	Header    time.Duration // to send a request's header; 0: 10 s
	Body      time.Duration // to send a request; 0: 30 s
	Write     time.Duration // to take a frame or an answer; 0: 20 s
	Heartbeat time.Duration // between comments on a stream; 0: 15 s
	Fresh     time.Duration // to begin a request on a connection that is there when the worker goes; 0: 250 ms
	Linger    time.Duration // for readers to take the last events, once the job is over; 0: 5 s
}

// Server serves one worker. It takes one job in its life; starts that fail do not count.
type Server struct {
	cfg      Config
	keys     keyring
	cors     *cors.Cors // nil: no page of another origin is let in
	handler  http.Handler
	slot     atomic.Pointer[job]
	bodies   bodies
	decoding sync.Mutex // a job's request
	draining atomic.Bool
	jobEnded chan struct{}   // closed when readers may see the last event of the job
	jobOver  chan struct{}   // closed when the job that had begun is over, and nothing of it is left
	leave    chan struct{}   // closed when a request asked the worker to go
	leaveNow sync.Once       // closes leave
	closing  context.Context // ends the streams of other workers' jobs when this worker goes
	close    context.CancelFunc
}

// New makes a Server; Serve or an HTTP server of the caller's own drives it.
func New(cfg Config) *Server {
	cfg.MaxBody = orDefault(cfg.MaxBody, 32<<20)
	cfg.StopGrace = orDefault(cfg.StopGrace, 30*time.Second)
	cfg.Timing.Header = orDefault(cfg.Timing.Header, 10*time.Second)
	cfg.Timing.Body = orDefault(cfg.Timing.Body, 30*time.Second)
	cfg.Timing.Write = orDefault(cfg.Timing.Write, 20*time.Second)
	cfg.Timing.Heartbeat = orDefault(cfg.Timing.Heartbeat, 15*time.Second)
	cfg.Timing.Fresh = orDefault(cfg.Timing.Fresh, 250*time.Millisecond)
	cfg.Timing.Linger = orDefault(cfg.Timing.Linger, 5*time.Second)
	s := &Server{cfg: cfg, keys: newKeyring(cfg.APIKeys), cors: newCORS(cfg.Origins), jobEnded: make(chan struct{}), jobOver: make(chan struct{}), leave: make(chan struct{})}
	s.bodies.room = largeBodies * cfg.MaxBody
	s.closing, s.close = context.WithCancel(context.Background())
	s.handler = s.routes()
	return s
}

func orDefault[T int64 | time.Duration](v, fallback T) T {
	if v == 0 {
		return fallback
	}
	return v
}

// Handler is the whole API. With a Guard it serves no connection that the Guard has not watched.
func (s *Server) Handler() http.Handler { return s.handler }

// routes is every endpoint there is.
func (s *Server) routes() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.RedirectTrailingSlash = false
	r.UseRawPath = true // an ID with an escaped slash stays one element, and is refused as an ID
	_ = r.SetTrustedProxies(nil)
	r.Use(s.identify, s.logRequests, s.recoverPanics, s.refuseAgent, s.admitPages, s.authenticate, s.refuseForeignPages, s.refuseForeignNames)
	r.NoRoute(func(c *gin.Context) { s.fail(c, notFound(r.Routes())) })
	r.NoMethod(func(c *gin.Context) { s.fail(c, errMethod) })

	r.POST("/execute", s.execute)
	r.GET("/health", s.health)
	r.GET("/ready", s.ready)
	r.GET("/status", s.status)
	r.GET("/openapi.yaml", s.openapi)
	r.GET("/sessions", s.listSessions)
	r.GET("/sessions/:id", s.showSession)
	r.GET("/sessions/:id/files", s.listFiles)
	r.GET("/sessions/:id/stream", s.streamSession)
	r.DELETE("/sessions/:id", s.deleteSession)
	r.POST("/abort", s.abort)
	r.POST("/shutdown", s.askToLeave)
	return r
}
