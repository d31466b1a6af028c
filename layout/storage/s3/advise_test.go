package s3

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// openError opens a store and returns the error.
func openError(t *testing.T, url string) string {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "value")
	c, err := Parse(url + "&max_attempts=1")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(t.Context(), c)
	if err == nil {
		opened.Close()
		t.Fatal("the store opens, want an error")
	}
	return err.Error()
}

// The advice for a wrong region names the region that the store asks for, wherever the store says it.
func TestAdviceOnRegions(t *testing.T) {
	for name, c := range map[string]struct {
		status             int
		header, code, text string
		want, not          string
	}{
		"in the header":     {http.StatusMovedPermanently, "eu-north-1", "PermanentRedirect", "Elsewhere.", "say region=eu-north-1 instead of af-south-1", ""},
		"in double quotes":  {http.StatusBadRequest, "", "AuthorizationHeaderMalformed", `the region "af-south-1" is wrong; expecting "us-west-2"`, "say region=us-west-2 instead of af-south-1", ""},
		"in single quotes":  {http.StatusBadRequest, "", "AuthorizationHeaderMalformed", `the region 'af-south-1' is wrong; expecting 'us-west-2'`, "say region=us-west-2 instead", ""},
		"nowhere":           {http.StatusBadRequest, "", "IllegalLocationConstraintException", "The constraint is incompatible.", "in another region than af-south-1: say region= with the right one", "instead of"},
		"without any words": {http.StatusTemporaryRedirect, "eu-north-1", "", "", "say region=eu-north-1 instead of af-south-1", ""},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.header != "" {
				w.Header().Set("X-Amz-Bucket-Region", c.header)
			}
			w.WriteHeader(c.status)
			if c.code != "" {
				_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", c.code, c.text)
			}
		}))
		got := openError(t, "s3://bucket/p?region=af-south-1&endpoint="+server.URL)
		server.Close()
		if !strings.Contains(got, c.want) || c.not != "" && strings.Contains(got, c.not) {
			t.Errorf("%s: %s, want %q", name, got, c.want)
		}
	}
}

// secure serves with a certificate of its own that signs itself. It returns the URL and the file of the certificate.
func secure(t *testing.T, change func(*x509.Certificate)) (url, ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "store"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o666); err != nil {
		t.Fatal(err)
	}
	return server.URL, ca
}

// The advice for a certificate looks at why it was refused.
func TestAdviceOnCertificates(t *testing.T) {
	_, another := secure(t, func(*x509.Certificate) {})
	for name, c := range map[string]struct {
		change    func(*x509.Certificate)
		ca        string
		want, not string
	}{
		"no name":         {func(c *x509.Certificate) { c.IPAddresses = nil }, "its own", "names no host at all: make one with 127.0.0.1 in its subjectAltName", "say ca="},
		"other names":     {func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"one.example", "two.example"} }, "its own", "is for one.example, two.example: name one of these in endpoint=", "say ca="},
		"another address": {func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)} }, "its own", "is for 192.0.2.1: name", "say ca="},
		"expired":         {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "its own", "renew it, or set this machine's clock", "say ca="},
		"not yet":         {func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "its own", "renew it, or set this machine's clock", "say ca="},
		"unknown":         {func(*x509.Certificate) {}, "", "say ca=", "does not hold"},
		"a wrong ca":      {func(*x509.Certificate) {}, another, "does not hold the certificate that the server's is signed with", "say ca="},
	} {
		url, own := secure(t, c.change)
		at := "s3://bucket/p?endpoint=" + url
		switch c.ca {
		case "":
		case "its own":
			at += "&ca=" + own
		default:
			at += "&ca=" + c.ca
		}
		if got := openError(t, at); !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
			t.Errorf("%s: %s, want %q and not %q", name, got, c.want, c.not)
		}
	}
}

// A server that does not know the bucket as a part of its name is to be asked by paths.
func TestAdviceOnTheBucketInTheHost(t *testing.T) {
	cause := fmt.Errorf("send: %w", &net.DNSError{Name: "bucket.store.example", Err: "no such host", IsNotFound: true})
	c := Config{Bucket: "bucket", Endpoint: "http://store.example", HostStyle: true}
	if got := advise(cause, c).Error(); !strings.Contains(got, "say path_style=true") {
		t.Errorf("%s, want advice on path_style", got)
	}
	c.HostStyle = false
	if got := advise(errors.Join(cause), c).Error(); strings.Contains(got, "path_style") {
		t.Errorf("%s, want no advice on path_style", got)
	}
}
