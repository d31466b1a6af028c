package s3

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// A request for credentials has a time limit. Its server is trusted by the system's certificates and by those of ca=.
func TestBaseClient(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := x509.SystemCertPool()
	if err != nil { // a system without any
		want = x509.NewCertPool()
	}
	want.AddCert(server.Certificate())
	for _, file := range []string{"", ca} {
		base, err := baseClient(Config{CAFile: file})
		if err != nil {
			t.Fatal(err)
		}
		if base.GetTimeout() != credentialTime {
			t.Errorf("ca %q: a request for credentials may take %v, want %v", file, base.GetTimeout(), credentialTime)
		}
		if file == "" {
			continue
		}
		if c := newTransport(base).TLSClientConfig; c == nil || !c.RootCAs.Equal(want) {
			t.Error("the trusted certificates differ, want the system's and that of ca=")
		}
	}
}
