package localpeer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The kernel's words for questions about sockets: struct inet_diag_sockid, inet_diag_req_v2 and inet_diag_msg of
// linux/inet_diag.h. Ports are in network order, whatever the machine's is.
type (
	socketID struct {
		SourcePort, TargetPort [2]byte
		Source, Target         [16]byte
		Interface              uint32
		Cookie                 [2]uint32
	}
	question struct {
		Header   unix.NlMsghdr
		Family   uint8
		Protocol uint8
		_        [2]uint8
		States   uint32
		ID       socketID
	}
	answer struct {
		Header unix.NlMsghdr
		Family uint8
		_      [3]uint8
		ID     socketID
		_      [3]uint32
		UID    uint32
		Inode  uint32
	}
)

const (
	anyCookie = ^uint32(0)
	anyState  = ^uint32(0)
)

var errNoSocket = errors.New("there is no such socket")

// owner returns the user who made the socket that is bound and connected to the given addresses. The kernel looks it up by
// its hash, in a time that does not depend on how many there are, as reading /proc/net/tcp or a dump would.
func owner(bound, connected netip.AddrPort) (uint32, error) {
	a, err := ask(newQuestion(bound, connected))
	if err != nil {
		return 0, err
	}
	if a.bound() != bound || a.connected() != connected {
		return 0, errNoSocket // the kernel's answer is then one that listens there
	}
	if a.Inode == 0 {
		return 0, errors.New("the socket is closed") // and older kernels call it root's
	}
	return a.UID, nil
}

func newQuestion(bound, connected netip.AddrPort) question {
	q := question{
		Header: unix.NlMsghdr{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: unix.NLM_F_REQUEST}, Family: unix.AF_INET6, Protocol: unix.IPPROTO_TCP, States: anyState,
		ID: socketID{Cookie: [2]uint32{anyCookie, anyCookie}},
	}
	if bound.Addr().Is4() {
		q.Family = unix.AF_INET
	}
	q.Header.Len = uint32(binary.Size(q))
	copy(q.ID.Source[:], bound.Addr().AsSlice())
	copy(q.ID.Target[:], connected.Addr().AsSlice())
	binary.BigEndian.PutUint16(q.ID.SourcePort[:], bound.Port())
	binary.BigEndian.PutUint16(q.ID.TargetPort[:], connected.Port())
	return q
}

func (a answer) bound() netip.AddrPort     { return a.end(a.ID.Source, a.ID.SourcePort) }
func (a answer) connected() netip.AddrPort { return a.end(a.ID.Target, a.ID.TargetPort) }

// end reads an address. That of an IPv6 socket that speaks IPv4 is a mapped one.
func (a answer) end(ip [16]byte, port [2]byte) netip.AddrPort {
	addr := netip.AddrFrom16(ip).Unmap()
	if a.Family == unix.AF_INET {
		addr = netip.AddrFrom4([4]byte(ip[:4]))
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port[:]))
}

// ask puts a question to the kernel.
func ask(q question) (answer, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return answer{}, fmt.Errorf("ask the kernel for a socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	var sent bytes.Buffer
	if err := binary.Write(&sent, binary.NativeEndian, q); err != nil {
		return answer{}, fmt.Errorf("write a question about a socket: %w", err)
	}
	if err := unix.Sendto(fd, sent.Bytes(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return answer{}, fmt.Errorf("ask the kernel for a socket: %w", err)
	}
	received := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, received, unix.MSG_DONTWAIT) // it answers while the question is sent
	if err != nil {
		return answer{}, fmt.Errorf("read the kernel's answer: %w", err)
	}
	return parse(received[:n])
}

// parse reads the kernel's answer, or its error: a message whose first word is an error's number, negated.
func parse(received []byte) (a answer, err error) {
	var failed struct {
		Header unix.NlMsghdr
		Errno  int32
	}
	if _, err := binary.Decode(received, binary.NativeEndian, &failed); err != nil {
		return answer{}, fmt.Errorf("read the kernel's answer: %w", err)
	}
	switch {
	case failed.Header.Type == unix.NLMSG_ERROR && failed.Errno == -int32(unix.ENOENT):
		return answer{}, errNoSocket
	case failed.Header.Type != unix.SOCK_DIAG_BY_FAMILY:
		return answer{}, fmt.Errorf("the kernel says nothing of a socket: %w", unix.Errno(-failed.Errno))
	}
	if _, err := binary.Decode(received, binary.NativeEndian, &a); err != nil {
		return answer{}, fmt.Errorf("read the kernel's answer: %w", err)
	}
	return a, nil
}
