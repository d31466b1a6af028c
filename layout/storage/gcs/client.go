package gcs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/storage"
	"google.golang.org/api/option"

	"github.com/ckptd/ckptd/layout/storage/wire"
)

// A connection is Google's client over our own transport.
type connection struct {
	client *storage.Client
	// http sends the client's requests, with its credentials.
	http *http.Client
	// config has the endpoint of the environment too.
	config    Config
	anonymous bool
	close     func() error
}

// scope is that of every credential; its IAM roles decide what it may do.
const scope = "https://www.googleapis.com/auth/cloud-platform"

// connect makes the client. The library's own transport would speak HTTP/2, and would hide its requests from us.
func connect(ctx context.Context, c Config) (connection, error) {
	if c.Endpoint == "" {
		if err := fromEnvironment(&c); err != nil {
			return connection{}, err
		}
	}
	base, err := newTransport(c)
	if err != nil {
		return connection{}, err
	}
	conn := connection{config: c, anonymous: c.Anonymous || strings.HasPrefix(c.Endpoint, "http://")}
	watched := &watcher{base}
	conn.http = &http.Client{Transport: watched}
	if !conn.anonymous {
		keys, err := findCredentials()
		if err != nil {
			return connection{}, err
		}
		if conn.http, err = httptransport.NewClient(&httptransport.Options{Credentials: keys, BaseRoundTripper: watched, DisableTelemetry: true}); err != nil {
			return connection{}, err
		}
	}
	conn.http.CheckRedirect = noRedirect
	options := []option.ClientOption{
		option.WithHTTPClient(conn.http), option.WithoutAuthentication(), storage.WithJSONReads(), storage.WithDisabledClientMetrics(),
	}
	if c.Endpoint != "" {
		options = append(options, option.WithEndpoint(c.Endpoint+"/storage/v1/"))
	}
	if conn.client, err = storage.NewClient(ctx, options...); err != nil {
		return connection{}, err
	}
	client := conn.client
	conn.close = func() error {
		defer base.CloseIdleConnections()
		return client.Close()
	}
	return conn, nil
}

// emulatorVariable names the variable by which Google's libraries find an emulator, which wants no credentials.
const emulatorVariable = "STORAGE_EMULATOR_HOST"

func fromEnvironment(c *Config) error {
	host := os.Getenv(emulatorVariable)
	if host == "" {
		return nil
	}
	if !strings.Contains(host, "://") {
		host = "http://" + host
	}
	if err := setEndpoint(c, host); err != nil {
		return fmt.Errorf("%s: %w", emulatorVariable, err)
	}
	c.Anonymous = true
	return nil
}

// findCredentials finds them as every library of Google's does: GOOGLE_APPLICATION_CREDENTIALS (a service account's key,
// or a workload identity's configuration), those of gcloud, the machine's own service account.
func findCredentials() (*auth.Credentials, error) {
	keys, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{scope}})
	if err != nil {
		return nil, fmt.Errorf("no credentials: %w; name a file in GOOGLE_APPLICATION_CREDENTIALS, run on a machine with a service account, "+
			"or say anonymous=true", withoutDetail(err))
	}
	return keys, nil
}

// withoutDetail drops what a JSON parser repeats of a file, which holds a private key.
func withoutDetail(err error) error {
	if strings.Contains(err.Error(), "json") || strings.Contains(err.Error(), "character") {
		return errors.New("the file of credentials cannot be read as JSON")
	}
	return err
}

// noRedirect refuses redirects: a streamed body cannot be sent twice.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func newTransport(c Config) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		trust, err := x509.SystemCertPool()
		if err != nil {
			trust = x509.NewCertPool()
		}
		if !trust.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: no certificate in %s; want PEM", c.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trust}
	}
	wire.Adapt(transport, stallTime)
	return transport, nil
}

// A watcher sends the library's requests and records what becomes of those that belong to a mutation or to a read.
type watcher struct{ base *http.Transport }

// RoundTrip implements http.RoundTripper.
func (w *watcher) RoundTrip(req *http.Request) (*http.Response, error) {
	if tries := triesOf(req.Context()); tries != nil {
		return tries.send(w.base, req)
	}
	if reading := readingOf(req.Context()); reading != nil {
		return reading.send(w.base, req)
	}
	resp, err := w.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if err := checkReply(req, resp); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

// errNotGCS is for a success that does not come from the store: a gateway's page, or nothing.
var errNotGCS = errors.New("the reply does not come from Google Cloud Storage; does a gateway or a proxy answer in its place?")

// checkReply refuses a successful answer to a question that is not JSON. The library would take an empty one for an
// empty list.
func checkReply(req *http.Request, resp *http.Response) error {
	if req.Method != http.MethodGet || resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil
	}
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode == http.StatusNoContent || !strings.HasPrefix(kind, "application/json") {
		return errNotGCS
	}
	return nil
}
