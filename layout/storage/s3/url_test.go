package s3_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ckptd/ckptd/layout/storage/s3"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		url  string
		want s3.Config
	}{
		{"s3://b", s3.Config{Bucket: "b"}},
		{"s3a://b/a/b/", s3.Config{Bucket: "b", Prefix: "a/b"}},
		{"s3n://b/p?region=eu-central-1", s3.Config{Bucket: "b", Prefix: "p", Region: "eu-central-1"}},
		{"s3p://b/p?endpoint=http://127.0.0.1:9000/", s3.Config{Bucket: "b", Prefix: "p", Endpoint: "http://127.0.0.1:9000", PathStyle: true}},
		{"s3://b/p?endpoint=https://h&path_style=false", s3.Config{Bucket: "b", Prefix: "p", Endpoint: "https://h"}},
		{"s3://b/p?path_style=true&max_attempts=1", s3.Config{Bucket: "b", Prefix: "p", PathStyle: true, MaxAttempts: 1}},
		{"s3://b/p?checksums=when_required", s3.Config{Bucket: "b", Prefix: "p", NoChecksums: true}},
		{"s3://b/p?checksums=when_supported", s3.Config{Bucket: "b", Prefix: "p"}},
		{"s3://b/p?profile=x&ca=/etc/ca.pem&sse_kms_key_id=arn:aws:kms:r:1:key/k&storage_class=STANDARD_IA", s3.Config{
			Bucket: "b", Prefix: "p", Profile: "x", CAFile: "/etc/ca.pem", KMSKeyID: "arn:aws:kms:r:1:key/k", StorageClass: "STANDARD_IA",
		}},
	} {
		got, err := s3.Parse(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.url, diff)
		}
		if again, err := s3.Parse(got.String()); err != nil || again != got {
			t.Errorf("%s: its own URL %s gives %+v, %v", c.url, got, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for url, why := range map[string]string{
		"gs://b/p":                        `scheme "gs"`,
		"s3:///p":                         "no bucket",
		"s3://key:secret@b/p":             "credentials in a URL",
		"s3://127.0.0.1:9000/b":           "endpoint=http://127.0.0.1:9000",
		"s3://b/a//b":                     `element ""`,
		"s3://b/a/../b":                   `element ".."`,
		"s3://b/p#x":                      "%23",
		"s3://b/p?regoin=x":               `unknown parameter "regoin"`,
		"s3://b/p?region=x&region=y":      "region is given 2 times",
		"s3://b/p?region=":                "region is empty",
		"s3://b/p?endpoint=minio:9000":    "want http://host:port",
		"s3://b/p?path_style=perhaps":     "want true or false",
		"s3://b/p?checksums=none":         "want when_supported or when_required",
		"s3://b/p?max_attempts=0":         "want 1",
		"s3://b/p?max_attempts=a hundred": "want 1",
	} {
		_, err := s3.Parse(url)
		if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "s3://my-bucket/ckptd?region=eu-central-1") {
			t.Errorf("%s: error %v, want one with %q and a right URL", url, err, why)
		}
	}
}
