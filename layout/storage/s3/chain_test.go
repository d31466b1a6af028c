package s3_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/s3"
)

// noCredentials removes the credentials from the environment.
func noCredentials(t *testing.T) {
	servers.Credentials(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
}

func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// refusedBecause opens a store with a wrong set-up, and wants an error that says what to do.
func refusedBecause(t *testing.T, url string, words ...string) {
	t.Helper()
	c, err := s3.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := s3.Open(t.Context(), c)
	if err == nil {
		opened.Close()
		t.Errorf("%s: opened, want an error with %q", url, words)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: error %v, want one with %q", url, err, word)
		}
	}
}

// works publishes and reads.
func works(t *testing.T, url string) {
	t.Helper()
	opened := open(t, url)
	defer opened.Close()
	key := "a/" + strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	if err := opened.Store.Publish(t.Context(), key, []byte("x")); err != nil {
		t.Error(err)
	}
	judge(t, opened.Store, key, []byte("x"), nil, "published")
}

// Credentials are found wherever the SDK looks for them.
func TestCredentials(t *testing.T) {
	server := servers.StartS3(t, servers.Versitygw, false)
	keys := fmt.Sprintf("aws_access_key_id = %s\naws_secret_access_key = %s\n", servers.AccessKey, servers.SecretKey)
	t.Run("profile= in the configuration file", func(t *testing.T) {
		noCredentials(t)
		t.Setenv("AWS_CONFIG_FILE", file(t, "[profile ours]\nregion = us-east-1\n"+keys))
		works(t, server.URL("chain", "profile=ours"))
		refusedBecause(t, server.URL("chain", "profile=theirs"), `no profile "theirs"`, "mend profile=")
	})
	t.Run("AWS_PROFILE in the credentials file", func(t *testing.T) {
		noCredentials(t)
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file(t, "[ours]\n"+keys))
		t.Setenv("AWS_PROFILE", "ours")
		works(t, server.URL("chain", ""))
	})
	t.Run("web identity", func(t *testing.T) {
		noCredentials(t)
		sts := fakeSTS(t, "a token")
		t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
		t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/ckptd")
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file(t, "a token"))
		works(t, server.URL("chain", ""))
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file(t, "an old token"))
		refusedBecause(t, server.URL("chain", ""), "no credentials: ExpiredTokenException", "see to the role")
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", filepath.Join(t.TempDir(), "none"))
		refusedBecause(t, server.URL("chain", ""), "no credentials", "no such file")
	})
	t.Run("none", func(t *testing.T) {
		noCredentials(t)
		refusedBecause(t, server.URL("chain", ""), "no credentials", "set AWS_ACCESS_KEY_ID")
	})
	t.Run("wrong ones", func(t *testing.T) {
		t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
		refusedBecause(t, server.URL("chain", ""), "SignatureDoesNotMatch", "are not this store's")
		t.Setenv("AWS_ACCESS_KEY_ID", "nobody")
		refusedBecause(t, server.URL("chain", ""), "No user exists", "are not this store's")
	})
	t.Run("another region", func(t *testing.T) {
		refusedBecause(t, server.URL("chain", "region=eu-central-1"), "us-east-1", "say region=")
	})
	t.Run("no region", func(t *testing.T) {
		refusedBecause(t, "s3://b/p", "no region", "say region=")
	})
	t.Run("nobody there", func(t *testing.T) {
		refusedBecause(t, "s3://b/p?max_attempts=1&endpoint=http://127.0.0.1:1", "refused", "endpoint http://127.0.0.1:1")
	})
	t.Run("another bucket", func(t *testing.T) {
		refusedBecause(t, strings.Replace(server.URL("chain", ""), servers.Bucket, "another", 1), "NoSuchBucket", "make the bucket first")
	})
}

// fakeSTS returns the server's credentials for a token. It returns no session token, because versitygw knows none.
func fakeSTS(t *testing.T, token string) *httptest.Server {
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form, _ := io.ReadAll(r.Body)
		values, _ := url.ParseQuery(string(form))
		w.Header().Set("Content-Type", "text/xml")
		if values.Get("Action") != "AssumeRoleWithWebIdentity" || values.Get("WebIdentityToken") != token {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "<ErrorResponse><Error><Code>ExpiredTokenException</Code><Message>The token has expired.</Message></Error></ErrorResponse>")
			return
		}
		_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>%s</AccessKeyId>`+
			`<SecretAccessKey>%s</SecretAccessKey><SessionToken></SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>`+
			`</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, servers.AccessKey, servers.SecretKey)
	}))
	t.Cleanup(sts.Close)
	return sts
}

// Credentials that the store calls expired are not used again, whatever this machine's clock says of them.
func TestExpiredBeforeTheirTime(t *testing.T) {
	noCredentials(t)
	var given atomic.Int64
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>KEY%d</AccessKeyId>`+
			`<SecretAccessKey>x</SecretAccessKey><SessionToken>y</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>`+
			`</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, given.Add(1))
	}))
	defer sts.Close()
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/ckptd")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file(t, "a token"))
	p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
		old := strings.Contains(r.Header.Get("Authorization"), "Credential=KEY1/")
		if old {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>")
		}
		return old
	})
	opened := p.open(t, "")
	defer opened.Close()
	if err := opened.Store.Publish(t.Context(), "a/f", nil); err == nil || errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "ExpiredToken") {
		t.Errorf("with expired credentials: %v, want that, for certain", err)
	}
	if err := opened.Store.Publish(t.Context(), "a/f", nil); err != nil || given.Load() != 2 {
		t.Errorf("after that: %v, credentials given %d times, want new ones", err, given.Load())
	}
}

// Errors of Amazon for a wrong set-up, which no server here returns.
func TestAmazonsRefusals(t *testing.T) {
	servers.Credentials(t)
	for code, c := range map[string]struct {
		status int
		region string
		words  []string
	}{
		"PermanentRedirect":            {301, "eu-west-3", []string{"another region", "region=eu-west-3"}},
		"AuthorizationHeaderMalformed": {400, "eu-west-3", []string{"region=eu-west-3"}},
		"ExpiredToken":                 {400, "", []string{"have expired"}},
		"InvalidToken":                 {400, "", []string{"are not this store's"}},
		"RequestTimeTooSkewed":         {403, "", []string{"set this machine's clock"}},
		"AccessDenied":                 {403, "", []string{"s3:ListBucket"}},
		"":                             {301, "eu-west-3", []string{"region=eu-west-3"}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Amz-Bucket-Region", c.region)
			w.WriteHeader(c.status)
			if code != "" {
				_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>No.</Message></Error>", code)
			}
		}))
		refusedBecause(t, "s3://bucket/p?max_attempts=1&endpoint="+server.URL, append(c.words, code)...)
		server.Close()
	}
}

// A server with an unknown certificate is trusted by ca= or AWS_CA_BUNDLE, and by nothing else.
func TestTrust(t *testing.T) {
	server := servers.StartS3(t, servers.Versitygw, true)
	bare := "s3://" + servers.Bucket + "/trust?max_attempts=1&endpoint=" + server.Endpoint
	works(t, bare+"&ca="+server.CA)
	refusedBecause(t, bare, "certificate")
	refusedBecause(t, bare+"&ca="+server.CA+"x", "ca: ", "no such file")
	refusedBecause(t, bare+"&ca="+file(t, "not PEM"), "ca")
	t.Setenv("AWS_CA_BUNDLE", server.CA)
	opened := open(t, bare)
	defer opened.Close()
	if err := opened.Store.Publish(t.Context(), "a/bundle", nil); err != nil {
		t.Error(err)
	}
}

// A server that the environment names is used as one in the URL: with the bucket in the path, a region, and the warning.
// The location holds the endpoint, so that another process without this environment finds the store.
func TestEndpointOfTheEnvironment(t *testing.T) {
	server := servers.StartS3(t, servers.Versitygw, false)
	t.Setenv("AWS_ENDPOINT_URL", strings.Replace(server.Endpoint, "127.0.0.1", "localhost", 1))
	opened := open(t, "s3://"+servers.Bucket+"/environment")
	defer opened.Close()
	if err := opened.Store.Publish(t.Context(), "a/published", nil); err != nil {
		t.Error(err)
	}
	if notes := strings.Join(opened.Facts.Notes, "; "); !strings.Contains(notes, "neither encrypted") || !strings.Contains(notes, "from AWS_ENDPOINT_URL") {
		t.Errorf("notes: %s; want the warning of http, and where the endpoint comes from", notes)
	}
	t.Setenv("AWS_ENDPOINT_URL", "")
	again := open(t, opened.Facts.Location)
	defer again.Close()
	if _, err := again.Store.Stat(t.Context(), "a/published"); err != nil {
		t.Errorf("at %s: %v, want the object", opened.Facts.Location, err)
	}
}

// The KMS of MinIO encrypts each kind of object with the requested key, and sets the requested storage class.
func TestEncryptedAndClassed(t *testing.T) {
	if !full() {
		t.Skip("not run: MinIO; `make test` does")
	}
	server := servers.StartS3(t, servers.MinIO, true,
		"MINIO_KMS_SECRET_KEY=our-key:"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	opened := open(t, server.URL("kms", "sse_kms_key_id=our-key&storage_class=REDUCED_REDUNDANCY"))
	defer opened.Close()
	client := rawClient(t, server)
	large := random(9 << 20)
	for key, c := range map[string]struct {
		data []byte
		make func(data []byte) error
	}{
		"a/published": {[]byte("x"), func(d []byte) error { return opened.Store.Publish(t.Context(), "a/published", d) }},
		"a/streamed":  {large[:1<<20], func(d []byte) error { return create(t.Context(), opened.Store, "a/streamed", d, announced(d)) }},
		"a/parts":     {large, func(d []byte) error { return create(t.Context(), opened.Store, "a/parts", d, storage.CreateOptions{}) }},
		"a/once": {large, func(d []byte) error {
			return create(t.Context(), opened.Store, "a/once", d, storage.CreateOptions{IfAbsent: true})
		}},
	} {
		judge(t, opened.Store, key, c.data, c.make(c.data), key)
		if _, err := opened.Store.Stat(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		head, err := client.HeadObject(t.Context(), &sdk.HeadObjectInput{Bucket: aws.String(servers.Bucket), Key: aws.String("kms/" + key)})
		if err != nil {
			t.Fatal(err)
		}
		if head.ServerSideEncryption != "aws:kms" || !strings.HasSuffix(aws.ToString(head.SSEKMSKeyId), "our-key") || head.StorageClass != "REDUCED_REDUNDANCY" {
			t.Errorf("%s: encryption %q by %q, class %q; want aws:kms by our-key, REDUCED_REDUNDANCY", key, head.ServerSideEncryption, aws.ToString(head.SSEKMSKeyId), head.StorageClass)
		}
		if part, err := opened.Store.Open(t.Context(), key, 0, 1); err != nil {
			t.Errorf("%s: %v", key, err)
		} else if b, err := io.ReadAll(part); err != nil || len(b) != 1 || b[0] != c.data[0] {
			t.Errorf("%s: its first byte is %v, %v; want the one that was written", key, b, err)
		} else {
			part.Close()
		}
	}
	for extra, word := range map[string]string{"sse_kms_key_id=no-key": "kms", "storage_class=PAPER": "storage class"} {
		wrong := open(t, server.URL("kms", extra))
		defer wrong.Close()
		err := wrong.Store.Publish(t.Context(), "a/wrong", nil)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), word) {
			t.Errorf("%s: %v, want an error with %q", extra, err, word)
		}
	}
}

// rawClient is the SDK's own client, with the configuration of the environment.
func rawClient(t *testing.T, server *servers.S3) *sdk.Client {
	t.Helper()
	if server.CA != "" {
		t.Setenv("AWS_CA_BUNDLE", server.CA)
	}
	c, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if closer, ok := c.HTTPClient.(interface{ CloseIdleConnections() }); ok {
			closer.CloseIdleConnections()
		}
	})
	return sdk.NewFromConfig(c, func(o *sdk.Options) { o.BaseEndpoint, o.UsePathStyle = aws.String(server.Endpoint), true })
}
