package gitops

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// TokenHosts are the hosts to which a token that is not the caller's own may be sent, each as CheckTokenHost accepts it.
// A host stands for https on its usual port; with a port it stands for that port, over http too where that is allowed at all.
type TokenHosts []string

// Allow reports whether the token may go to a repository's host.
func (hosts TokenHosts) Allow(repoURL string) bool {
	u, err := url.Parse(repoURL)
	if err != nil || u.User != nil {
		return false
	}
	for _, host := range hosts {
		if names(host, u) {
			return true
		}
	}
	return false
}

func names(host string, u *url.URL) bool {
	name, port := splitTokenHost(host)
	if port == "" {
		return u.Scheme == "https" && (u.Port() == "" || u.Port() == "443") && strings.EqualFold(u.Hostname(), name)
	}
	own := u.Port()
	if own == "" {
		own = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return own == port && strings.EqualFold(u.Hostname(), name)
}

// splitTokenHost takes "host:port" apart; without a port all of it is the name, but for the brackets of an IPv6 address.
func splitTokenHost(host string) (name, port string) {
	if name, port, err := net.SplitHostPort(host); err == nil && port != "" {
		return name, port
	}
	if bare, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(bare, "]") {
		return strings.TrimSuffix(bare, "]"), ""
	}
	return host, ""
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// CheckTokenHost tells what is wrong with an element of TokenHosts. There are no globs: whoever may choose the host of a
// repository could choose one that matches.
func CheckTokenHost(host string) error {
	name, port := splitTokenHost(host)
	if _, err := netip.ParseAddr(name); err != nil && !hostName.MatchString(name) {
		return errors.New("write whole names, as host or host:port, without scheme, path, login or anything that stands for many hosts")
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return errors.New("the port is none")
	}
	return nil
}
