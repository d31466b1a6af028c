package address_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/conformance/certs"
	"github.com/ckptd/ckptd/proto/address"
)

// secureServer answers with the name of the client's certificate and with the Authorization header.
func secureServer(t *testing.T, ca *certs.CA) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := ""
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s|%s", name, r.Header.Get("Authorization"))
	}))
	pair, err := tls.LoadX509KeyPair(ca.Issue("server", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(ca.File())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// get sends a request over a connection of its own.
func get(t *testing.T, url string, c *address.Credentials) (string, error) {
	t.Helper()
	at, err := address.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	transport := at.Transport(&address.Options{Credentials: c})
	defer transport.CloseIdleConnections()
	res, err := at.Client(transport, c).Get(at.BaseURL() + "/")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// What a caller shows is what its files hold now: a token and a certificate that are replaced need no restart.
func TestCredentialsAreReadAgain(t *testing.T) {
	ca := certs.New(t)
	server := secureServer(t, ca)
	cert, key := ca.Issue("worker")
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "first\n")
	c, err := address.NewCredentials(address.CredentialFiles{CA: ca.File(), Cert: cert, Key: key, TokenFile: file})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		if got, err := get(t, server.URL, c); got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	expect("worker|Bearer first")
	write(t, file, "second")
	expect("worker|Bearer second")
	write(t, file, "") // in the middle of a rotation
	expect("worker|Bearer second")
	other := certs.New(t)
	otherCert, otherKey := other.Issue("stranger")
	for from, to := range map[string]string{otherCert: cert, otherKey: key} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, to, string(b))
	}
	if got, err := get(t, server.URL, c); err == nil {
		t.Errorf("with the certificate of a stranger: %q, want an error", got)
	}
}

// A daemon whose certificate the caller does not trust is not told the token.
func TestUntrusted(t *testing.T) {
	server := secureServer(t, certs.New(t))
	for name, ca := range map[string]string{"the system's authorities": "", "another authority": certs.New(t).File()} {
		c, err := address.NewCredentials(address.CredentialFiles{CA: ca, Token: "secret-secret"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := get(t, server.URL, c); !errors.Is(err, address.ErrUntrusted) {
			t.Errorf("%s: %q, %v; want ErrUntrusted", name, got, err)
		}
	}
}

// Whoever names a daemon with TLS without it, or the other way round, is told the right address.
func TestOneSided(t *testing.T) {
	secure := secureServer(t, certs.New(t))
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for _, server := range []string{secure.URL, plain.URL} {
		wrong := strings.Replace(server, "https:", "http:", 1)
		if wrong == server {
			wrong = strings.Replace(server, "http:", "https:", 1)
		}
		if got, err := get(t, wrong, nil); !errors.Is(err, address.ErrOneSided) || !strings.Contains(err.Error(), "named "+server) {
			t.Errorf("%s: %q, %v; want ErrOneSided and %s", wrong, got, err, server)
		}
	}
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Client sent nonsense", http.StatusBadRequest)
	}))
	defer bad.Close()
	if got, err := get(t, bad.URL, nil); got != "Client sent nonsense\n" || err != nil {
		t.Errorf("another bad request: %q, %v; want the server's answer", got, err)
	}
}

// A token goes to this machine without TLS, to others only with TLS, to a socket never, and to another host never.
func TestTokenIsNotExposed(t *testing.T) {
	c, err := address.NewCredentials(address.CredentialFiles{Token: "secret-secret"})
	if err != nil {
		t.Fatal(err)
	}
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}))
	defer echo.Close()
	if got, err := get(t, echo.URL, c); got != "Bearer secret-secret" || err != nil {
		t.Errorf("this machine: %q, %v; want the token", got, err)
	}
	for _, url := range []string{"http://192.0.2.1:7420", "http://ckptd.example:7420", "10.0.0.1:7420", "[2001:db8::1]:7420"} {
		got, err := get(t, url, c)
		if !errors.Is(err, address.ErrExposed) || strings.Contains(err.Error(), "secret-secret") || !strings.Contains(err.Error(), "name the daemon https://") {
			t.Errorf("%s: %q, %v; want ErrExposed, the right address, and no token", url, got, err)
		}
	}
	at, err := address.Parse(echo.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := at.Transport(nil)
	defer transport.CloseIdleConnections()
	res, err := at.Client(transport, c).Get(echo.URL + "/?to=http://192.0.2.1:7420/")
	if err != nil || res.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("a redirect: %v, %v; want it returned and not followed", res, err)
	} else {
		res.Body.Close()
	}
	if text := fmt.Sprintf("%v %+v %#v", c, c, *c); strings.Contains(text, "secret-secret") {
		t.Errorf("a formatted Credentials shows its token: %s", text)
	}
}

// A mistake in a file is named with the file, and its contents are not repeated.
func TestCredentialsRefuse(t *testing.T) {
	dir := t.TempDir()
	bad, two := filepath.Join(dir, "bad"), filepath.Join(dir, "two")
	write(t, bad, "")
	write(t, two, "topsecret topsecret\n")
	ca := certs.New(t)
	cert, key := ca.Issue("a")
	otherCert, _ := ca.Issue("b")
	for want, f := range map[string]address.CredentialFiles{
		"CA " + bad:                     {CA: bad},
		"CA " + dir + "/none":           {CA: dir + "/none"},
		"give both files":               {Cert: cert},
		"give both files ":              {Key: key},
		"client certificate " + bad:     {Cert: bad, Key: key},
		"private key does not match":    {Cert: otherCert, Key: key},
		"token file " + bad:             {TokenFile: bad},
		"token file " + two:             {TokenFile: two},
		"token: it holds more than":     {Token: "topsecret\ntopsecret"},
		"token file " + dir + "/absent": {TokenFile: dir + "/absent"},
	} {
		_, err := address.NewCredentials(f)
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%+v: %v; want an error with %q and no contents", f, err, want)
		}
	}
}
