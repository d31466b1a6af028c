package gcs_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/conformance/gcsfake"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage/gcs"
)

// guarded starts the strict server over https, for callers with a token. It returns its endpoint and a file with its
// certificate.
func guarded(t *testing.T, token string) (endpoint, ca string) {
	server := gcsfake.New(servers.Bucket, gcsfake.Bucket{})
	server.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer "+token {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, errorBody(http.StatusUnauthorized, "authError"))
		return true
	}
	listening := httptest.NewTLSServer(server)
	t.Cleanup(listening.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: listening.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return listening.URL, ca
}

// tokens serves tokens, and remembers what it was asked.
func tokens(t *testing.T, status int, token string) (address string, asked func() string) {
	text := ""
	listening := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		text, _ = url.QueryUnescape(string(body))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if status != http.StatusOK {
			_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token"}`)
			return
		}
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","expires_in":3600}`, token)
	}))
	t.Cleanup(listening.Close)
	return listening.URL, func() string { return text }
}

// credentialFile writes a file of credentials and names it in the environment.
func credentialFile(t *testing.T, content any) {
	t.Helper()
	text, ok := content.([]byte)
	if !ok {
		var err error
		if text, err = json.Marshal(content); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
}

func serviceAccount(t *testing.T, tokenURI string) map[string]string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"type": "service_account", "project_id": "p", "private_key_id": "1", "client_email": "ckptd@p.iam.example", "client_id": "2",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": tokenURI,
	}
}

func publishOnce(t *testing.T, root string) error {
	t.Helper()
	c, err := gcs.Parse(root)
	if err != nil {
		return err
	}
	opened, err := gcs.Open(t.Context(), c)
	if err != nil {
		return err
	}
	defer opened.Close()
	return opened.Store.Publish(t.Context(), strings.ReplaceAll(t.Name(), " ", "-"), []byte("x"))
}

// Credentials come from where Google's libraries look: a service account's key, a workload identity, an emulator that
// wants none. Over plain http none are sent.
func TestCredentials(t *testing.T) {
	endpoint, ca := guarded(t, "good")
	root := servers.GCSURL(endpoint, "x", "max_attempts=1&ca="+ca)
	address, asked := tokens(t, http.StatusOK, "good")
	t.Run("service account", func(t *testing.T) {
		credentialFile(t, serviceAccount(t, address))
		if err := publishOnce(t, root); err != nil || !strings.Contains(asked(), "jwt-bearer") {
			t.Errorf("%v; the token server was asked %.60q", err, asked())
		}
	})
	t.Run("workload identity", func(t *testing.T) {
		subject := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(subject, []byte("subject-token"), 0o600); err != nil {
			t.Fatal(err)
		}
		credentialFile(t, map[string]any{
			"type": "external_account", "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k",
			"subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": address, "credential_source": map[string]any{"file": subject},
		})
		if err := publishOnce(t, root); err != nil || !strings.Contains(asked(), "subject-token") {
			t.Errorf("%v; the token server was asked %.60q", err, asked())
		}
	})
	t.Run("emulator", func(t *testing.T) {
		_, plain := strict(t, gcsfake.Bucket{})
		t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(plain, "http://"))
		if err := publishOnce(t, "gs://"+servers.Bucket+"/x"); err != nil {
			t.Error(err)
		}
	})
	t.Run("plain http", func(t *testing.T) {
		credentialFile(t, serviceAccount(t, address))
		server, plain := strict(t, gcsfake.Bucket{})
		server.Before = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Authorization") != "" {
				t.Error("a token was sent over http")
			}
			return false
		}
		if err := publishOnce(t, servers.GCSURL(plain, "x", "")); err != nil {
			t.Error(err)
		}
	})
}

// What is wrong with a set-up is said with what to do about it, and without any secret.
func TestWrongSetUp(t *testing.T) {
	endpoint, ca := guarded(t, "good")
	_, plain := strict(t, gcsfake.Bucket{})
	refused, _ := tokens(t, http.StatusBadRequest, "")
	stale, _ := tokens(t, http.StatusOK, "stale")
	closed := httptest.NewServer(nil)
	closed.Close()
	at := func(endpoint, extra string) string { return servers.GCSURL(endpoint, "x", "max_attempts=1"+extra) }
	trusted := at(endpoint, "&ca="+ca)
	for _, c := range []struct {
		name        string
		root        string
		credentials any
		want        string
	}{
		{"no such bucket", strings.Replace(at(plain, ""), servers.Bucket, "nobody-made-it", 1), nil, "make the bucket first"},
		{"nobody listens", at(closed.URL, ""), nil, "connection refused"},
		{"unknown authority", at(endpoint, "&anonymous=true"), nil, "say ca="},
		{"http at an https port", at(strings.Replace(plain, "http:", "https:", 1), "&anonymous=true"), nil, "say endpoint=http://"},
		{"anonymous", trusted + "&anonymous=true", nil, "take out anonymous=true"},
		{"a key that was deleted", trusted, serviceAccount(t, refused), "renew them"},
		{"a token of another server", trusted, serviceAccount(t, stale), "are not valid there"},
		{"not JSON", trusted, []byte(`{"type":"service_account","private_key":topsecret}`), "cannot be read as JSON"},
		{"not a key", trusted, []byte(`{"type":"service_account","client_email":"a@b.example","private_key":"topsecret"}`), "private key in the file"},
		{"another kind", trusted, map[string]string{"type": "password"}, "GOOGLE_APPLICATION_CREDENTIALS"},
		{"no certificate", at(endpoint, "&ca="+os.DevNull), nil, "no certificate in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.credentials != nil {
				credentialFile(t, c.credentials)
			}
			err := publishOnce(t, c.root)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "PRIVATE") || strings.Contains(err.Error(), "topsecret") {
				t.Errorf("error %v; want one with %q and without a secret", err, c.want)
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
		if err := publishOnce(t, trusted); err == nil || !strings.Contains(err.Error(), "/nowhere") {
			t.Errorf("error %v, want one that names the file", err)
		}
	})
	t.Run("emulator's address", func(t *testing.T) {
		t.Setenv("STORAGE_EMULATOR_HOST", "http://h/p?q")
		if err := publishOnce(t, "gs://"+servers.Bucket+"/x"); err == nil || !strings.Contains(err.Error(), "STORAGE_EMULATOR_HOST") {
			t.Errorf("error %v, want one that names the variable", err)
		}
	})
}
