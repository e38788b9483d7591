package localpeer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// ErrRefused says that a connection is not to be served.
var ErrRefused = errors.New("the connection is not to be served")

// Guard keeps one user of this machine away from a server, and with him every process of this machine whose user cannot be
// told. Those of other machines and of other users pass. A nil Guard lets everybody pass. It is safe for concurrent use.
type Guard struct{ uid uint32 }

// NewGuard makes a Guard against a user.
func NewGuard(uid uint32) *Guard { return &Guard{uid: uid} }

type connKey struct{}

// Watch lets Admit find the connection: it is for the ConnContext of an http.Server. It asks nothing yet.
func (g *Guard) Watch(ctx context.Context, c net.Conn) context.Context {
	if g == nil {
		return ctx
	}
	return context.WithValue(ctx, connKey{}, sync.OnceValue(func() error { return g.check(c) }))
}

// Admit returns an error that wraps ErrRefused where the connection of a request is not to be served, and also where Watch
// has not seen it. What it found holds for the connection's life: its other end stays the user's who made it.
func (g *Guard) Admit(ctx context.Context) error {
	if g == nil {
		return nil
	}
	check, ok := ctx.Value(connKey{}).(func() error)
	if !ok {
		return fmt.Errorf("%w: nobody watched it", ErrRefused)
	}
	return check()
}

func (g *Guard) check(c net.Conn) error {
	uid, err := UID(c)
	switch {
	case errors.Is(err, ErrRemote):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case uid == g.uid:
		return fmt.Errorf("%w: it is of uid %d", ErrRefused, uid)
	}
	return nil
}
