// Package address is how a daemon is named and reached: http://host:port, https://host:port, host:port or unix:/path.
//
// It owns the reading and the spelling of such names, the HTTP transport to them, and what a caller shows there: its
// certificate and its token. It must not know what is said to a daemon, nor which daemon admits whom.
package address

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const (
	// MaxSocketPath is the longest path of a Unix socket in bytes: what fits the kernel's structure.
	MaxSocketPath = 107
	// Forms are the spellings that Parse accepts, for error messages.
	Forms = "http://host:port, https://host:port, host:port or unix:/path"

	unixPrefix = "unix:"
	// unixBase stands for the host where a URL needs one and the connection goes to a socket. It is never looked up.
	unixBase = "http://ckptd"
)

// ErrInvalid marks the errors of Parse.
var ErrInvalid = errors.New("not the address of a daemon")

// Address is where one daemon listens. The zero value is no address. Addresses are comparable.
type Address struct {
	scheme string // http, https or unix
	at     string // host, host:port, or the absolute path of a socket
}

// Parse reads an address. host:port alone means http. Its errors repeat only what is surely no secret.
func Parse(raw string) (Address, error) {
	if path, ok := UnixPath(raw); ok {
		if !strings.HasPrefix(path, "/") {
			return Address{}, invalid("the path of a socket has to begin with /")
		}
		return Address{"unix", path}, nil
	}
	if !strings.Contains(raw, "://") {
		host, port, err := net.SplitHostPort(raw)
		switch {
		case hostName.MatchString(raw):
			return Address{}, invalid(fmt.Sprintf("%q has no port", raw))
		case err != nil || host == "" || port == "":
			return Address{}, invalid("a host or a port is missing")
		}
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return Address{}, invalid("not a URL")
	case u.User != nil || strings.Contains(raw, "@"):
		return Address{}, invalid("it holds a user name")
	case u.Scheme != "http" && u.Scheme != "https":
		return Address{}, invalid(fmt.Sprintf("scheme %q", u.Scheme))
	case u.Host == "":
		return Address{}, invalid("no host")
	case strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.Fragment != "":
		return Address{}, invalid(fmt.Sprintf("want nothing after %s://%s", u.Scheme, u.Host))
	}
	return Address{u.Scheme, u.Host}, nil
}

// hostName is the form of a host that errors repeat.
var hostName = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

func invalid(why string) error { return fmt.Errorf("%w: %s; want %s", ErrInvalid, why, Forms) }

// Unix is the address of a socket at an absolute path.
func Unix(path string) Address { return Address{"unix", path} }

// TCP is the address of a host and port, with TLS or without.
func TCP(hostPort string, secure bool) Address {
	if secure {
		return Address{"https", hostPort}
	}
	return Address{"http", hostPort}
}

// UnixPath cuts unix: off. It also accepts a relative path, which a flag may name and Parse refuses.
func UnixPath(raw string) (path string, ok bool) { return strings.CutPrefix(raw, unixPrefix) }

// String spells the address so that Parse reads the same one again.
func (a Address) String() string {
	if a.IsUnix() {
		return unixPrefix + a.at
	}
	return a.scheme + "://" + a.at
}

// IsUnix reports whether the daemon listens at a Unix socket.
func (a Address) IsUnix() bool { return a.scheme == "unix" }

// BaseURL is what the URLs of requests begin with. A transport made by Transport must carry them.
func (a Address) BaseURL() string {
	if a.IsUnix() {
		return unixBase
	}
	return a.String()
}

// Options say how a daemon is reached. The zero value is a good one.
type Options struct {
	// Credentials are for https; nil: none are shown, and the system's authorities are trusted.
	Credentials *Credentials
	// UnixBuffer is the size of a socket's send buffer in bytes; 0: the system's.
	UnixBuffer int
}

// keptConnections is how many connections without a call a transport keeps. A process with a thousand jobs calls from all of them
// at once; with fewer, most calls would open a connection, which costs the daemon more than the call itself.
const keptConnections = 256

// Transport makes a transport whose connections all go to the daemon. The caller may change its limits before the first request. o may
// be nil.
func (a Address) Transport(o *Options) *http.Transport {
	if o == nil {
		o = &Options{}
	}
	buffer := o.UnixBuffer
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if a.IsUnix() {
				return dialUnix(ctx, a.at, buffer)
			}
			return dialTCP(ctx, network, addr)
		},
		DialTLSContext:      o.Credentials.dialTLS,
		DisableCompression:  true,
		MaxIdleConnsPerHost: keptConnections,
		IdleConnTimeout:     time.Minute,
	}
}

func dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext(ctx, network, addr)
}

func dialUnix(ctx context.Context, path string, buffer int) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if u, ok := conn.(*net.UnixConn); ok && buffer > 0 {
		// Best effort: a smaller buffer is only slower.
		_ = u.SetWriteBuffer(buffer)
	}
	return conn, err
}
