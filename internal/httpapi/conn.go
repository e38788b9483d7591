package httpapi

import (
	"context"
	"net"
)

// listener accepts connections that can send a whole frame at once.
type listener struct{ net.Listener }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// conn holds back what net/http writes in pieces of at most 4 KiB, until a frame is complete. It is written to by one
// goroutine at a time, as net/http's own buffer is.
type conn struct {
	net.Conn
	holding bool
	held    []byte
	err     error // of a frame that was cut: whatever came after it would be taken for its rest
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	switch {
	case c.err != nil:
		return 0, c.err
	case c.holding:
		c.held = append(c.held, p...)
		return len(p), nil
	default:
		return c.Conn.Write(p)
	}
}

// CloseWrite lets net/http end a connection whose client still sends so that the client can read the answer.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// inOnePiece sends all that write writes by one system call.
func (c *conn) inOnePiece(write func() error) error {
	c.holding = true
	err := write()
	c.holding = false
	if err != nil {
		return err
	}
	_, c.err = c.Conn.Write(c.held)
	c.held = c.held[:0]
	if cap(c.held) > keptFrame {
		c.held = nil
	}
	return c.err
}

type connKey struct{}

// withConn lets the handlers of a connection find it.
func (s *Server) withConn(ctx context.Context, c net.Conn) context.Context {
	ctx = s.cfg.Guard.Watch(ctx, c)
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// inOnePiece runs write so that what it writes to the request's connection arrives together. Where another server than
// ours accepted the connection, it is written as that server writes.
func inOnePiece(request context.Context, write func() error) error {
	if c, ok := request.Value(connKey{}).(*conn); ok {
		return c.inOnePiece(write)
	}
	return write()
}
