package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

var (
	// ErrBusy says that another worker holds the session.
	ErrBusy = errors.New("another worker holds the session")
	// ErrReplaced says that another worker has taken the session over: its former holder must stop, and write nothing more.
	ErrReplaced = errors.New("another worker has taken the session over")
)

// Config is what Sessions works with.
type Config struct {
	Store    Store
	Holder   string         // names this process among all workers; unique
	LeaseTTL time.Duration  // how long a lease outlives its last renewal; the same for all workers of a store; 0: a minute
	Log      zerolog.Logger // for what is done in a context without a logger of its own

	Now   func() time.Time // nil: time.Now. Leases are kept by its monotonic part
	NewID func() string    // makes unique strings for keys and nonces, of letters, digits and hyphens; nil: random ones
}

// Sessions gives access to all sessions of a store. It is safe for concurrent use.
type Sessions struct {
	cfg  Config
	held sync.Map // IDs that this process holds or is about to
}

// NewSessions makes a Sessions; nothing is asked of the store yet.
func NewSessions(cfg Config) *Sessions {
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewID == nil {
		cfg.NewID = rand.Text
	}
	return &Sessions{cfg: cfg}
}

// logger is for lines about one session: the context's own, which knows whose work it is and names the session itself.
func (s *Sessions) logger(ctx context.Context, id string) zerolog.Logger {
	if l := zerolog.Ctx(ctx); l.GetLevel() != zerolog.Disabled {
		return *l
	}
	return s.cfg.Log.With().Str("session", id).Logger()
}

// Ping asks the store for a sign of life and of being allowed in.
func (s *Sessions) Ping(ctx context.Context) error {
	_, err := s.cfg.Store.Stat(ctx, ".ping")
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("ping storage: %w", err)
	}
	return nil
}

// Metadata reads a session's metadata as it is stored now, or ErrNotFound.
func (s *Sessions) Metadata(ctx context.Context, id string) (Metadata, error) {
	if err := checkID(id); err != nil {
		return Metadata{}, err
	}
	m, err := s.present(ctx, id)
	return m.Metadata, err
}

// RequestAbort asks for the end of a session's job, whoever runs it: its Lease.Aborted is closed within a quarter of the
// LeaseTTL. It reports whether there is a job that can hear it. Asking again is no error.
func (s *Sessions) RequestAbort(ctx context.Context, id string) (running bool, err error) {
	if err := checkID(id); err != nil {
		return false, err
	}
	m, err := s.present(ctx, id)
	if err != nil || m.Lease == nil {
		return false, err
	}
	tryCtx, cancel := s.try(ctx)
	defer cancel()
	_, err = s.cfg.Store.PutIf(tryCtx, abortKey(id, m.Attempt), []byte("{}\n"), IfAbsent)
	if err != nil && !errors.Is(err, ErrConflict) {
		return false, fmt.Errorf("ask for the abort of session %s: %w", id, err)
	}
	return m.age <= s.expiry()+s.renewal(), nil
}

// expiry is the age at which a lease can be expired. The second more is for clocks that show whole ones only.
func (s *Sessions) expiry() time.Duration { return s.cfg.LeaseTTL + time.Second }

// renewal is how often a holder moves its metadata, and how long an old lease must stay unchanged to be expired.
func (s *Sessions) renewal() time.Duration { return s.cfg.LeaseTTL / 4 }

// grace is how long after its last renewal a holder may still write.
func (s *Sessions) grace() time.Duration { return s.cfg.LeaseTTL * 3 / 4 }
