package address_test

import (
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/proto/address"
)

func TestParse(t *testing.T) {
	for raw, want := range map[string]string{
		"http://127.0.0.1:7420":  "http://127.0.0.1:7420",
		"http://host:7420/":      "http://host:7420",
		"HTTP://host":            "http://host",
		"https://host:7420":      "https://host:7420",
		"host:7420":              "http://host:7420",
		"[::1]:7420":             "http://[::1]:7420",
		"unix:/run/ckptd.sock":   "unix:/run/ckptd.sock",
		"unix:/run/with a:colon": "unix:/run/with a:colon",
	} {
		got, err := address.Parse(raw)
		if err != nil || got.String() != want {
			t.Errorf("Parse(%q) = %q, %v; want %q", raw, got, err, want)
		}
		if again, err := address.Parse(got.String()); err != nil || again != got {
			t.Errorf("Parse(%q) = %q, %v; want the same address", got, again, err)
		}
	}
}

// What is no address is refused with the right forms beside it. A password is never repeated.
func TestParseRefuses(t *testing.T) {
	for _, raw := range []string{
		"", "host", ":7420", "host:", "ftp://x", "unix:", "unix:relative", "unix:relative/path", "http://", "http://h/path", "http://h?q=1", "http://h#f",
		"http://user:topsecret@h:1", "http://user:topsecret%zz@h:1", "//h:1", "h:1/path", "user:topsecret@h:1", "user:topsecret", "http://user:topsecret", "http:/user:topsecret@h:1",
		"http://h:1?token=topsecret", "http://h:1/topsecret", "user:topsecret@h/x?y=http://h:1", "unix:topsecret",
	} {
		got, err := address.Parse(raw)
		if !errors.Is(err, address.ErrInvalid) {
			t.Errorf("Parse(%q) = %q, %v; want ErrInvalid", raw, got, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, address.Forms) || strings.Contains(text, "topsecret") {
			t.Errorf("Parse(%q): %s; want it to name the right forms and no password", raw, text)
		}
	}
}

// A transport reaches the daemon that the address names, whatever the form.
func TestTransport(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	dir, err := os.MkdirTemp("", "a-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	socket := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	socket.Start()
	for _, s := range []*httptest.Server{plain, secure, socket} {
		defer s.Close()
	}
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	trusting, err := address.NewCredentials(address.CredentialFiles{CA: authority})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{plain.URL, plain.Listener.Addr().String(), secure.URL, address.Unix(path).String()} {
		a, err := address.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		transport := a.Transport(&address.Options{Credentials: trusting, UnixBuffer: 1 << 20})
		res, err := (&http.Client{Transport: transport}).Get(a.BaseURL() + "/here")
		if err != nil {
			t.Errorf("%s: %v, want an answer", raw, err)
			continue
		}
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != "/here" {
			t.Errorf("%s: %q, %v; want \"/here\"", raw, b, err)
		}
		res.Body.Close()
		transport.CloseIdleConnections()
	}
}
