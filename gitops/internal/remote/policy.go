package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"syscall"
	"time"
)

const maxURL = 2048

// ErrBlocked says that a host, or the address its name stands for, may not be connected to.
var ErrBlocked = errors.New("the address is not allowed")

// Policy says which hosts may be connected to.
type Policy struct {
	// AllowHTTP lets http URLs in beside https ones.
	AllowHTTP bool
	// AllowedHosts are globs over "host" or "host:port"; if there are any, no other host may be named. Addresses that
	// are not public are connected to only for a host that is named here.
	AllowedHosts []string
}

// CheckURL tells what is wrong with a repository's URL, in words for the person who wrote it; they never hold its user
// part. It looks nothing up: a name that stands for a forbidden address is found out when it is dialled.
func (p Policy) CheckURL(raw string) error {
	u, err := p.parse(raw)
	if err != nil {
		return err
	}
	host := u.Hostname()
	if len(p.AllowedHosts) > 0 && !p.named(u.Host) {
		return fmt.Errorf("%w: the host %s is not among those that this worker may use", ErrBlocked, host)
	}
	if addr, err := netip.ParseAddr(host); err == nil && !public(addr) && !p.named(u.Host) {
		return fmt.Errorf("%w: %s is no public address", ErrBlocked, host)
	}
	return nil
}

func (p Policy) parse(raw string) (*url.URL, error) {
	switch {
	case raw == "":
		return nil, errors.New("the URL is empty")
	case len(raw) > maxURL:
		return nil, fmt.Errorf("the URL is longer than %d bytes", maxURL)
	case strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || r == 0xfffd }):
		return nil, errors.New("the URL has a space, a backslash or a control character in it")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("want a URL like https://host/owner/repository; ssh, git, file and other transports are not supported")
	}
	switch {
	case u.Scheme == "http" && !p.AllowHTTP:
		return nil, errors.New("want https: plain http would show the token to the network")
	case u.User != nil:
		return nil, errors.New("the URL must not hold a user name or password: give the token in a field of its own")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the URL must not hold a query or a fragment")
	}
	if err := checkHost(u); err != nil {
		return nil, err
	}
	return u, checkPath(u.Path)
}

func checkHost(u *url.URL) error {
	host := u.Hostname()
	if host == "" || strings.HasPrefix(host, "-") {
		return errors.New("the URL names no host")
	}
	if port := u.Port(); port == "0" || len(port) > 5 || strings.HasSuffix(u.Host, ":") {
		return errors.New("the URL's port is not one")
	}
	return nil
}

func checkPath(p string) error {
	trimmed := strings.Trim(p, "/")
	if trimmed == "" || trimmed == ".git" {
		return errors.New("the URL names a host and no repository")
	}
	if strings.ContainsFunc(trimmed, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("the URL has a control character in it")
	}
	for _, element := range strings.Split(trimmed, "/") {
		if element == "." || element == ".." || strings.HasPrefix(element, "-") {
			return fmt.Errorf("the URL's path has the element %q, which no repository's has", element)
		}
	}
	return nil
}

// named reports whether host, with its port or without, matches one of AllowedHosts.
func (p Policy) named(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	for _, glob := range p.AllowedHosts {
		glob = strings.ToLower(glob)
		for _, name := range []string{host, hostport} {
			if ok, err := path.Match(glob, strings.ToLower(name)); err == nil && ok || glob == strings.ToLower(name) {
				return true
			}
		}
	}
	return false
}

// dial connects, and decides on the address that it really connects to, whatever name or spelling led there.
func (p Policy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	if !p.named(addr) {
		d.ControlContext = refusePrivate
	}
	return d.DialContext(ctx, network, addr)
}

func refusePrivate(_ context.Context, _, addr string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !public(ap.Addr()) {
		return fmt.Errorf("%w: %s is no public address", ErrBlocked, addr)
	}
	return nil
}

// reserved are the networks that netip's own predicates do not know as anything but public: shared, translated and
// documentation addresses, and those at which clouds keep their metadata.
var reserved = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"168.63.129.16/32",                        // Azure's wire server
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", // IPv4 in IPv6
	"2001::/23", "2002::/16", "fec0::/10", // Teredo and kin, 6to4, site-local
	"100::/64", "2001:db8::/32", "3fff::/20", "5f00::/16", // discard, documentation, segment routing
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func public(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return false
	}
	for _, prefix := range reserved {
		if prefix.Contains(addr) {
			return false
		}
	}
	return true
}
