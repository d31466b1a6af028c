package servers

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The credentials and the bucket of every S3 server here.
const (
	AccessKey = "testkey"
	SecretKey = "testsecret123"
	// Bucket is made before a server starts.
	Bucket = "ckptd"
)

// S3 is a running S3 server.
type S3 struct {
	// Kind is the name of its binary.
	Kind string
	// Endpoint is its URL.
	Endpoint string
	// CA is the file with the certificate to trust; empty without TLS.
	CA string

	env     []string // more variables of its environment
	dir     string
	address string
	path    string
	client  *http.Client
	process *process
}

// StartS3 starts a server of a kind (Versitygw, MinIO, Gofakes3), which ends with the test. It sets the environment
// so that the AWS SDK finds the credentials. env holds more variables for the server: "MINIO_KMS_SECRET_KEY=…".
func StartS3(t testing.TB, kind string, withTLS bool, env ...string) *S3 {
	t.Helper()
	s := &S3{Kind: kind, env: env, path: binary(t, kind), dir: t.TempDir(), client: &http.Client{Timeout: 5 * time.Second}}
	Credentials(t)
	if err := os.MkdirAll(filepath.Join(s.dir, "data", Bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	scheme := "http"
	if withTLS {
		scheme = "https"
		s.CA = certificate(t, filepath.Join(s.dir, "certs"))
		pem, err := os.ReadFile(s.CA)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		s.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	} else {
		s.client.Transport = &http.Transport{DisableKeepAlives: true}
	}
	var err error
	for range 3 { // another process may take the port first
		s.address = freePort(t)
		s.Endpoint = scheme + "://" + s.address
		if err = s.Start(); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// Credentials sets the servers' credentials in the environment, and clears variables that would lead the SDK
// elsewhere. If a TestMain has done so already, Credentials changes nothing, and the test may be parallel.
func Credentials(t testing.TB) {
	t.Helper()
	for name, value := range CredentialsEnv() {
		if os.Getenv(name) != value {
			t.Setenv(name, value)
		}
	}
}

// CredentialsEnv returns the environment in which the AWS SDK uses these servers.
func CredentialsEnv() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey, "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_CA_BUNDLE": "",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_ROLE_ARN": "", "AWS_ENDPOINT_URL_S3": "", "AWS_ENDPOINT_URL_STS": "", "AWS_MAX_ATTEMPTS": "",
	}
}

// Folder is where a versitygw keeps the objects of its bucket, as files: a benchmark puts many there at once.
func (s *S3) Folder() string { return filepath.Join(s.dir, "data", Bucket) }

// Start starts the server again, with the same address and data, after Kill.
func (s *S3) Start() error {
	data := filepath.Join(s.dir, "data")
	certs := filepath.Join(s.dir, "certs")
	var env, args []string
	ready, status := s.Endpoint, http.StatusOK
	switch s.Kind {
	case Versitygw:
		env = []string{"ROOT_ACCESS_KEY=" + AccessKey, "ROOT_SECRET_KEY=" + SecretKey}
		args = []string{"--quiet", "--keep-alive", "--port", s.address, "--health", "/health"}
		if s.CA != "" {
			args = append(args, "--cert", s.CA, "--key", filepath.Join(certs, "private.key"))
		}
		args = append(args, "posix", data)
		ready += "/health"
	case MinIO:
		env = []string{"MINIO_ROOT_USER=" + AccessKey, "MINIO_ROOT_PASSWORD=" + SecretKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off", "HOME=" + s.dir}
		args = []string{"server", "--quiet", "--address", s.address}
		if s.CA != "" {
			args = append(args, "--certs-dir", certs)
		}
		args = append(args, data)
		// MinIO reports ready (/minio/health/ready) too early. An unsigned request is refused as soon as the server
		// works.
		ready, status = ready+"/"+Bucket+"/?list-type=2", http.StatusForbidden
	case Gofakes3:
		host, port := split(s.address)
		args = []string{"-backend", "memory", "-host", fmt.Sprintf("%s:%s", host, port), "-autobucket", "-initialbucket", Bucket}
	default:
		return fmt.Errorf("no S3 server is called %q", s.Kind)
	}
	p, err := start(s.path, append(env, s.env...), args...)
	if err != nil {
		return err
	}
	if err := p.await(s.client, ready, status); err != nil {
		p.kill()
		return err
	}
	s.process = p
	return nil
}

// Kill ends the server at once, as a crash would. A second Kill does nothing.
func (s *S3) Kill() {
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// Address returns host:port.
func (s *S3) Address() string { return s.address }

// URL returns the URL of a store below a prefix of the bucket, in ckptd's form. extra is added to its query:
// "max_attempts=1".
func (s *S3) URL(prefix, extra string) string { return s.URLAt(s.Endpoint, prefix, extra) }

// URLAt is URL with another endpoint, such as a proxy in front of the server.
func (s *S3) URLAt(endpoint, prefix, extra string) string {
	query := url.Values{"endpoint": {endpoint}}
	if s.CA != "" {
		query.Set("ca", s.CA)
	}
	text := "s3://" + Bucket + "/" + prefix + "?" + query.Encode()
	if extra != "" {
		text += "&" + extra
	}
	return text
}
