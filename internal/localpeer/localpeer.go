// Package localpeer tells which user of this machine is at the other end of a TCP connection, so that a server on a port
// that everybody here can reach may refuse one of them.
package localpeer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

var (
	// ErrRemote says that the other end is not on this machine, as far as its network reaches.
	ErrRemote = errors.New("the other end is not on this machine")
	// ErrUnknown says that the other end is on this machine, and that nobody can tell whose it is: its socket is closed
	// already, the connection was redirected on its way, or the kernel does not say.
	ErrUnknown = errors.New("the other end is on this machine, and its user cannot be told")
)

// UID returns the user who opened the other end of a connection that was accepted in this process's network. An error is
// ErrRemote, or one that wraps ErrUnknown.
func UID(c net.Conn) (uint32, error) {
	local, err := addrPort(c.LocalAddr())
	if err != nil {
		return 0, err
	}
	peer, err := addrPort(c.RemoteAddr())
	if err != nil {
		return 0, err
	}
	uid, err := owner(peer, local)
	if err == nil {
		return uid, nil
	}
	here, hereErr := isHere(peer.Addr(), local.Addr())
	if !here && hereErr == nil {
		return 0, ErrRemote
	}
	return 0, fmt.Errorf("%w: %w", ErrUnknown, errors.Join(err, hereErr))
}

// addrPort is an address of TCP as the kernel knows the socket: an IPv4 address stays one inside of an IPv6 socket.
func addrPort(a net.Addr) (netip.AddrPort, error) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%w: %v is no address of TCP", ErrUnknown, a)
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()), nil
}

// isHere reports whether an address is one of this machine's. own is one that is.
func isHere(addr, own netip.Addr) (bool, error) {
	if addr.IsLoopback() || addr == own {
		return true, nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false, fmt.Errorf("list this machine's addresses: %w", err)
	}
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.Equal(addr.AsSlice()) {
			return true, nil
		}
	}
	return false, nil
}
