package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/gitops"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
	"github.com/ai-coding-worker/ai-coding-worker/providers/all"
)

// setter checks a value and puts it into its field.
type setter = func(c *Config, value string) error

func text(field func(*Config) *string, checks ...func(string) error) setter {
	return func(c *Config, value string) error {
		for _, check := range checks {
			if err := check(value); err != nil {
				return err
			}
		}
		*field(c) = value
		return nil
	}
}

func hidden(field func(*Config) *secret.String) setter {
	return func(c *Config, value string) error {
		*field(c) = secret.New(value)
		return nil
	}
}

// shortestKey is the length from which an API key cannot be guessed, if it was made up at random.
const shortestKey = 16

// errNoElements is a list that was meant to say something: without an element it would be as open as one that is not set.
var errNoElements = errors.New("there is nothing between its commas: name something, or do not set it")

// keys splits at commas and white space.
func keys(field func(*Config) *[]secret.String) setter {
	return func(c *Config, value string) error {
		split := func(r rune) bool { return r == ',' || unicode.IsSpace(r) }
		for i, key := range strings.FieldsFunc(value, split) {
			if len(key) < shortestKey || strings.ContainsFunc(key, func(r rune) bool { return r < '!' || r > '~' }) {
				return fmt.Errorf("key %d: write at least %d printable ASCII characters (openssl rand -hex 16 makes good ones)", i+1, shortestKey)
			}
			*field(c) = append(*field(c), secret.New(key))
		}
		if len(*field(c)) == 0 {
			return errNoElements
		}
		return nil
	}
}

func whole[T int | int64](field func(*Config) *T, least, most T) setter {
	return func(c *Config, value string) error {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < int64(least) || n > int64(most) {
			return fmt.Errorf("write a whole number from %d to %d", least, most)
		}
		*field(c) = T(n)
		return nil
	}
}

func oneOf(field func(*Config) *string, words ...string) setter {
	return func(c *Config, value string) error {
		if !slices.Contains(words, strings.ToLower(value)) {
			return fmt.Errorf("write one of %s", strings.Join(words, ", "))
		}
		*field(c) = strings.ToLower(value)
		return nil
	}
}

// ports splits at commas; each is a port to which one can connect.
func ports(field func(*Config) *[]uint16) setter {
	return func(c *Config, value string) error {
		var all []uint16
		for element := range strings.SplitSeq(value, ",") {
			port, err := strconv.ParseUint(strings.TrimSpace(element), 10, 16)
			if err != nil || port == 0 {
				return errors.New("write ports from 1 to 65535 between commas")
			}
			all = append(all, uint16(port))
		}
		*field(c) = all
		return nil
	}
}

func boolean(field func(*Config) *bool) setter {
	return func(c *Config, value string) error {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("write true or false")
		}
		*field(c) = b
		return nil
	}
}

func positive(field func(*Config) *time.Duration) setter {
	return func(c *Config, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return errors.New("write a duration above zero with its unit, such as 90s, 30m or 1h30m")
		}
		*field(c) = d
		return nil
	}
}

func notNegative(field func(*Config) *time.Duration) setter {
	return func(c *Config, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return errors.New("write a duration with its unit, such as 4s, or 0s for none")
		}
		*field(c) = d
		return nil
	}
}

// list splits at commas; empty elements are dropped.
func list(field func(*Config) *[]string, check func(string) error) setter {
	return func(c *Config, value string) error {
		var elements []string
		for element := range strings.SplitSeq(value, ",") {
			if element = strings.TrimSpace(element); element == "" {
				continue
			}
			if err := check(element); err != nil {
				return err
			}
			elements = append(elements, element)
		}
		if len(elements) == 0 {
			return errNoElements
		}
		*field(c) = elements
		return nil
	}
}

// logLevels leaves out zerolog's fatal and panic, under which errors would not be seen.
var logLevels = []zerolog.Level{
	zerolog.TraceLevel, zerolog.DebugLevel, zerolog.InfoLevel, zerolog.WarnLevel, zerolog.ErrorLevel, zerolog.Disabled,
}

func logLevel(c *Config, value string) error {
	level, err := zerolog.ParseLevel(strings.ToLower(value))
	if err != nil || !slices.Contains(logLevels, level) {
		return errors.New("write trace, debug, info, warn, error or disabled")
	}
	c.LogLevel = level
	return nil
}

func checkAbs(dir string) error {
	if !filepath.IsAbs(dir) {
		return errors.New("write an absolute path: a relative one depends on where the worker is started")
	}
	return nil
}

// checkProvider takes the name of any provider that there is. Whether this worker offers it depends on what is installed, and is
// told to who asks for it.
func checkProvider(name string) error {
	known := all.Known()
	if _, ok := known.Lookup(name); !ok {
		return fmt.Errorf("there is no such provider: write one of %s", strings.Join(known.Names(), ", "))
	}
	return nil
}

func checkHost(host string) error {
	if net.ParseIP(host) == nil && !hostName.MatchString(host) {
		return errors.New("write an IP address or a host name, without a port")
	}
	return nil
}

// checkAddr takes what can be listened on; without a host it is every address.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host != "" && checkHost(host) != nil {
		return errors.New("write host:port, or :port for every address")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("the port %q is none: write a number up to 65535", port)
	}
	return nil
}

var (
	hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	bucket   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
)

func checkBucket(name string) error {
	if !bucket.MatchString(name) || strings.Contains(name, "..") {
		return errors.New("write 3 to 63 lower case letters, digits, dots and hyphens")
	}
	return nil
}

func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("write an http or https URL, without a login, query or fragment")
	}
	return nil
}

var origin = regexp.MustCompile(`^https?://([a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$`)

// checkOrigin takes what a browser can send, and nothing that stands for many origins.
func checkOrigin(o string) error {
	usual := strings.HasPrefix(o, "http://") && strings.HasSuffix(o, ":80") || strings.HasPrefix(o, "https://") && strings.HasSuffix(o, ":443")
	if !origin.MatchString(o) || usual {
		return errors.New("write whole origins as browsers send them: http or https, the host, a port where it is not the usual one, " +
			"in lower case and without a slash at the end (https://app.example.com)")
	}
	return nil
}

// checkPrefix asks whether git would take a branch that begins so.
func checkPrefix(prefix string) error {
	if err := gitops.ValidBranch(prefix + "/x"); err != nil {
		return fmt.Errorf("no branch can begin with it: %w", err)
	}
	return nil
}

func checkIdentity(s string) error {
	if strings.ContainsAny(s, "<>\n\r\x00") {
		return errors.New("git allows neither < nor > nor a new line in it")
	}
	return nil
}

func checkGlob(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("%q is no glob: write host names, with * and ? where anything may stand", shown(pattern))
	}
	if strings.ContainsAny(pattern, "/@ ") {
		return fmt.Errorf("%q is no host: write host or host:port, without scheme, path or login", shown(pattern))
	}
	return nil
}

// parseEndpoint reads a host, a host:port or a URL. The given port, if there is one, wins; it is checked elsewhere. The scheme is empty unless it was told.
func parseEndpoint(raw, port string) (endpoint, scheme string, err error) {
	const wanted = "write host, host:port or a URL of these (http://host:9000)"
	withScheme := raw
	if !strings.Contains(raw, "://") {
		withScheme = "//" + raw
	}
	u, err := url.Parse(withScheme)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", errors.New(wanted)
	}
	if u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" {
		return "", "", errors.New(wanted)
	}
	own := u.Port()
	if own == "" {
		own = map[string]string{"": "9000", "http": "80", "https": "443"}[u.Scheme]
	}
	if n, err := strconv.ParseUint(own, 10, 16); err != nil || n == 0 {
		return "", "", fmt.Errorf("the port %q is none: %s", own, wanted)
	}
	if port == "" {
		port = own
	}
	return net.JoinHostPort(u.Hostname(), port), u.Scheme, nil
}
