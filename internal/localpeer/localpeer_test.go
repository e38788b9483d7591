package localpeer_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/agenttest"
	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc/fsuid"
	"github.com/ai-coding-worker/ai-coding-worker/internal/localpeer"
)

// other is a user that is not the test's own, where there can be one: a socket is its maker's.
func other() int {
	if os.Geteuid() == 0 {
		return agenttest.UID
	}
	return os.Geteuid()
}

// connect opens a connection to ln as a user, and returns both ends.
func connect(t *testing.T, ln net.Listener, uid int, from string, to net.Addr) (client, server net.Conn) {
	t.Helper()
	dialer := net.Dialer{}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	err := fsuid.Do(uid, func() (err error) {
		client, err = dialer.DialContext(context.Background(), "tcp", to.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, accept(t, ln)
}

func accept(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// reach is the address of a listener at one of this machine's addresses.
func reach(ln net.Listener, ip string) net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(ip), Port: ln.Addr().(*net.TCPAddr).Port}
}

// ownAddress is one of this machine's that is not of loopback; "" where it has none.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if ip := a.(*net.IPNet).IP; ip.IsGlobalUnicast() && ip.To4() != nil {
			return ip.String()
		}
	}
	return ""
}

func TestUIDOfTheOtherEnd(t *testing.T) {
	own := ownAddress(t)
	for name, test := range map[string]struct{ network, listen, from, to string }{
		"IPv4":                         {"tcp4", "127.0.0.1:0", "", "127.0.0.1"},
		"IPv6":                         {"tcp6", "[::1]:0", "", "::1"},
		"IPv4 at an IPv6 socket":       {"tcp", "[::]:0", "", "127.0.0.1"},
		"from another loopback one":    {"tcp4", "127.0.0.1:0", "127.0.0.2", "127.0.0.1"},
		"by the machine's own address": {"tcp4", "0.0.0.0:0", "", own},
		"from loopback to its own":     {"tcp4", "0.0.0.0:0", "127.0.0.1", own},
		"from its own to loopback":     {"tcp4", "0.0.0.0:0", own, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.to == "" || name == "from its own to loopback" && own == "" {
				t.Log("this machine has no address but loopback's")
				return
			}
			ln := listen(t, test.network, test.listen)
			for _, uid := range []int{os.Geteuid(), other()} {
				_, server := connect(t, ln, uid, test.from, reach(ln, test.to))
				if got, err := localpeer.UID(server); err != nil || got != uint32(uid) {
					t.Errorf("the other end is of uid %d, %v; want %d", got, err, uid)
				}
			}
		})
	}
}

// Go's servers take MPTCP where the kernel has it; elsewhere this is TCP once more.
func TestUIDByMPTCP(t *testing.T) {
	var listen net.ListenConfig
	listen.SetMultipathTCP(true)
	ln, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	var client net.Conn
	err = fsuid.Do(other(), func() (err error) {
		client, err = dialer.DialContext(context.Background(), "tcp", ln.Addr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server := accept(t, ln)
	used, err := server.(*net.TCPConn).MultipathTCP()
	t.Logf("MPTCP is used: %t, %v", used, err)
	if got, err := localpeer.UID(server); err != nil || got != uint32(other()) {
		t.Errorf("the other end is of uid %d, %v", got, err)
	}
}

// An IPv6 socket can speak IPv4.
func TestUIDOfAMappedAddress(t *testing.T) {
	ln := listen(t, "tcp4", "127.0.0.1:0")
	var fd int
	err := fsuid.Do(other(), func() (err error) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet6{Port: ln.Addr().(*net.TCPAddr).Port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	if err := unix.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	if got, err := localpeer.UID(accept(t, ln)); err != nil || got != uint32(other()) {
		t.Errorf("the other end is of uid %d, %v", got, err)
	}
}

// What has gone, or was never there, is nobody's; and nobody's own socket stands in for it.
func TestUIDThatCannotBeTold(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn) error{
		"closed": func(c *net.TCPConn) error { return c.Close() },
		"reset":  func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			ln := listen(t, "tcp", "127.0.0.1:0")
			client, server := connect(t, ln, other(), "", ln.Addr())
			if err := leave(client.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			if uid, err := localpeer.UID(server); !errors.Is(err, localpeer.ErrUnknown) {
				t.Errorf("uid %d, %v", uid, err)
			}
		})
	}
	t.Run("listening", func(t *testing.T) {
		ln, mine := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
		if uid, err := localpeer.UID(ends{local: ln.Addr(), remote: mine.Addr()}); !errors.Is(err, localpeer.ErrUnknown) {
			t.Errorf("uid %d, %v", uid, err)
		}
	})
	t.Run("redirected", func(t *testing.T) {
		ln := listen(t, "tcp", "0.0.0.0:0")
		own := ownAddress(t)
		if own == "" {
			own = "127.0.0.1"
		}
		client, _ := connect(t, ln, other(), "", reach(ln, own))
		if uid, err := localpeer.UID(ends{local: reach(ln, "203.0.113.1"), remote: client.LocalAddr()}); !errors.Is(err, localpeer.ErrUnknown) {
			t.Errorf("uid %d, %v", uid, err)
		}
	})
}

func TestHalfAConnectionIsStillItsMakers(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	client, server := connect(t, ln, other(), "", ln.Addr())
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := localpeer.UID(server); err != nil || got != uint32(other()) {
		t.Errorf("the other end is of uid %d, %v", got, err)
	}
}

// ends is a connection of which nothing matters but its addresses.
type ends struct {
	net.Conn
	local, remote net.Addr
}

func (e ends) LocalAddr() net.Addr  { return e.local }
func (e ends) RemoteAddr() net.Addr { return e.remote }

func TestOtherMachines(t *testing.T) {
	for _, remote := range []string{"203.0.113.7", "2001:db8::7"} {
		local := &net.TCPAddr{IP: net.ParseIP("203.0.113.1"), Port: 5000}
		if uid, err := localpeer.UID(ends{local: local, remote: &net.TCPAddr{IP: net.ParseIP(remote), Port: 40000}}); !errors.Is(err, localpeer.ErrRemote) {
			t.Errorf("%s: uid %d, %v", remote, uid, err)
		}
	}
}

func TestGuard(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	_, server := connect(t, ln, other(), "", ln.Addr())
	gone, left := connect(t, ln, os.Geteuid(), "", ln.Addr())
	gone.Close()
	remote := ends{local: ln.Addr(), remote: &net.TCPAddr{IP: net.ParseIP("203.0.113.7"), Port: 40000}}
	against, elsewhere := localpeer.NewGuard(uint32(other())), localpeer.NewGuard(uint32(other()+1))
	for name, test := range map[string]struct {
		guard *localpeer.Guard
		conn  net.Conn
		ok    bool
	}{
		"the user":              {against, server, false},
		"another user":          {elsewhere, server, true},
		"a user who is unknown": {elsewhere, left, false},
		"another machine":       {against, remote, true},
		"no guard":              {nil, server, true},
	} {
		ctx := test.guard.Watch(t.Context(), test.conn)
		for range 2 {
			if err := test.guard.Admit(ctx); (err == nil) != test.ok || err != nil && !errors.Is(err, localpeer.ErrRefused) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if err := against.Admit(t.Context()); !errors.Is(err, localpeer.ErrRefused) {
		t.Errorf("a connection that nobody watched: %v", err)
	}
}

// A connection's user is looked up once, when somebody asks.
func TestGuardAsksOnce(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	client, server := connect(t, ln, other(), "", ln.Addr())
	guard := localpeer.NewGuard(uint32(other() + 1))
	ctx := guard.Watch(t.Context(), server)
	if err := guard.Admit(ctx); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if err := guard.Admit(ctx); err != nil {
		t.Errorf("asked again: %v", err)
	}
}

func BenchmarkUID(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			_, _ = localpeer.UID(server)
		}
	})
	b.Run("elsewhere", func(b *testing.B) {
		far := ends{local: ln.Addr(), remote: &net.TCPAddr{IP: net.ParseIP("203.0.113.7"), Port: 40000}}
		for b.Loop() {
			_, _ = localpeer.UID(far)
		}
	})
}
