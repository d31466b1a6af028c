package address

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ckptd/ckptd/proto/freshfile"
)

var (
	// ErrUntrusted: the daemon's certificate was not made by a CA that the caller trusts, or for another name.
	ErrUntrusted = errors.New("the daemon's certificate is not trusted")
	// ErrOneSided: the address says TLS and the daemon has none, or the other way round.
	ErrOneSided = errors.New("only one side of the connection speaks TLS")
	// ErrExposed: a token would travel without TLS over a network, where others can read it.
	ErrExposed = errors.New("a token is sent only over TLS, or to this machine")
)

// CredentialFiles name the files of a caller. The zero value of a field means that there is none.
type CredentialFiles struct {
	// CA holds the certificates of the authorities that the caller trusts, as PEM; empty: those of the system.
	CA string
	// Cert and Key are the caller's certificate and its key, as PEM.
	Cert, Key string
	// TokenFile holds the caller's bearer token in one line.
	TokenFile string
	// Token is the bearer token itself, for callers that have it in no file. It wins over TokenFile.
	Token string
}

// Credentials are what a caller shows to daemons, and whom it trusts. The files are read again when they change. nil
// shows nothing and trusts the system's authorities. Credentials are safe for concurrent use.
type Credentials struct {
	roots *freshfile.Files[*x509.CertPool]
	pair  *freshfile.Files[*tls.Certificate]
	// token is a function, so that no formatting of a Credentials can print the token.
	token func() string
}

// NewCredentials reads the files, so that a mistake in them shows at once.
func NewCredentials(f CredentialFiles) (*Credentials, error) {
	c := &Credentials{}
	var err error
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("a client certificate needs its key, and a key its certificate: give both files")
	}
	if f.CA != "" {
		if c.roots, err = freshfile.Open(func(b [][]byte) (*x509.CertPool, error) { return ParsePool(b[0]) }, f.CA); err != nil {
			return nil, fmt.Errorf("CA %s: %w", f.CA, err)
		}
	}
	if f.Cert != "" {
		if c.pair, err = freshfile.Open(func(b [][]byte) (*tls.Certificate, error) { return ParsePair(b[0], b[1]) }, f.Cert, f.Key); err != nil {
			return nil, fmt.Errorf("client certificate %s with the key %s: %w", f.Cert, f.Key, err)
		}
	}
	switch {
	case f.Token != "":
		token, err := parseToken([]byte(f.Token))
		if err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		c.token = func() string { return token }
	case f.TokenFile != "":
		file, err := freshfile.Open(func(b [][]byte) (string, error) { return parseToken(b[0]) }, f.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("token file %s: %w", f.TokenFile, err)
		}
		c.token = func() string {
			token, _ := file.Get() // a file that is being replaced leaves the token as it was
			return token
		}
	}
	return c, nil
}

// ParsePool reads certificates of authorities.
func ParsePool(pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("it holds no certificate in PEM form")
	}
	return pool, nil
}

// ParsePair reads a certificate and its key.
func ParsePair(cert, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

// parseToken cuts white space off a token. Its errors do not repeat the token.
func parseToken(raw []byte) (string, error) {
	token := strings.TrimSpace(string(raw))
	if token == "" {
		return "", errors.New("it is empty: want one line with the token")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("it holds more than a token: want one line of printable characters without blanks")
	}
	return token, nil
}

// config is the TLS configuration of one connection to a host.
func (c *Credentials) config(host string) *tls.Config {
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if c == nil {
		return cfg
	}
	if c.roots != nil {
		cfg.RootCAs, _ = c.roots.Get() // files that are being replaced stay as they were
	}
	if c.pair != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, _ := c.pair.Get()
			return pair, nil
		}
	}
	return cfg
}

// handshakeTime bounds a TLS handshake.
const handshakeTime = 10 * time.Second

// dialTLS connects to a host and checks its certificate.
func (c *Credentials) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	plain, err := dialTCP(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	conn := tls.Client(plain, c.config(host))
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
		_, misnamed := errors.AsType[x509.HostnameError](err)
		if unknown || misnamed {
			return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
		}
		if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
			return nil, fmt.Errorf("%w: a daemon without TLS is named http://%s: %w", ErrOneSided, addr, err)
		}
		return nil, err
	}
	return conn, nil
}

// Client makes a client whose requests carry the token. Only requests to the daemon itself do, and only those that
// others cannot read. The client follows no redirects: the API has none.
func (a Address) Client(t *http.Transport, c *Credentials) *http.Client {
	client := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if a.scheme == "http" {
		client.Transport = &plain{t, a}
	}
	if c != nil && c.token != nil && !a.IsUnix() { // a socket's file says who may connect
		client.Transport = &bearer{client.Transport, c.token, a}
	}
	return client
}

// plain notices that a daemon wants TLS.
type plain struct {
	next http.RoundTripper
	to   Address
}

// wantsTLS is how an HTTPS server of Go answers a request without TLS. No handler sees such a request.
const wantsTLS = "Client sent an HTTP request to an HTTPS server."

// RoundTrip is http.RoundTripper's.
func (p *plain) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := p.next.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusBadRequest {
		return res, err
	}
	begin := make([]byte, len(wantsTLS))
	n, _ := io.ReadFull(res.Body, begin)
	if string(begin[:n]) != wantsTLS {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(begin[:n]), res.Body), res.Body}
		return res, nil
	}
	res.Body.Close()
	return nil, fmt.Errorf("%w: a daemon with TLS is named https://%s", ErrOneSided, p.to.at)
}

// bearer adds a token to requests.
type bearer struct {
	next  http.RoundTripper
	token func() string
	to    Address
}

// RoundTrip is http.RoundTripper's.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.to.scheme != "https" && !b.to.IsLoopback() {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, fmt.Errorf("%w; name the daemon https://%s, or give no token", ErrExposed, b.to.at)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token())
	return b.next.RoundTrip(r)
}

// IsLoopback reports whether connections to the address stay on this machine for certain.
func (a Address) IsLoopback() bool {
	if a.IsUnix() {
		return true
	}
	host := a.at
	if h, _, err := net.SplitHostPort(a.at); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
