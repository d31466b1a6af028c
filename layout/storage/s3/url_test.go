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
		{"S3://b/p", s3.Config{Bucket: "b", Prefix: "p"}},
		{"s3://my.bucket-1", s3.Config{Bucket: "my.bucket-1"}},
		{"s3a://b/a/b/", s3.Config{Bucket: "b", Prefix: "a/b"}},
		{"s3n://b/p?region=eu-central-1", s3.Config{Bucket: "b", Prefix: "p", Region: "eu-central-1"}},
		{"s3p://b/p?endpoint=http://127.0.0.1:9000/", s3.Config{Bucket: "b", Prefix: "p", Endpoint: "http://127.0.0.1:9000"}},
		{"s3://b/p?endpoint=https://h&path_style=false", s3.Config{Bucket: "b", Prefix: "p", Endpoint: "https://h", HostStyle: true}},
		{"s3://b/p?path_style=true&max_attempts=1", s3.Config{Bucket: "b", Prefix: "p", PathStyle: true, MaxAttempts: 1}},
		{"s3://b/p?endpoint=https://h&path_style=true", s3.Config{Bucket: "b", Prefix: "p", Endpoint: "https://h", PathStyle: true}},
		{"s3://b/p?path_style=false", s3.Config{Bucket: "b", Prefix: "p", HostStyle: true}},
		{"s3://b/p?checksums=when_required", s3.Config{Bucket: "b", Prefix: "p", NoChecksums: true}},
		{"s3://b/p?checksums=when_supported", s3.Config{Bucket: "b", Prefix: "p"}},
		{"s3://b/p?profile=x&ca=/etc/ca.pem&sse_kms_key_id=arn:aws:kms:r:1:key/k&storage_class=STANDARD_IA", s3.Config{
			Bucket: "b", Prefix: "p", Profile: "x", CAFile: "/etc/ca.pem", KMSKeyID: "arn:aws:kms:r:1:key/k", StorageClass: "STANDARD_IA",
		}},
	} {
		got, err := s3.Parse(c.url)
		if err != nil {
			t.Errorf("%s: %v, want no error", c.url, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.url, diff)
		}
		if again, err := s3.Parse(got.String()); err != nil || again != got {
			t.Errorf("%s: its own URL %s gives %+v, %v; want the same Config", c.url, got, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for url, why := range map[string]string{
		"gs://b/p":                              `scheme "gs"`,
		"s3://":                                 "no bucket",
		"s3:":                                   "no bucket",
		"s3:///p":                               "want two slashes before it: s3://p;",
		"s3:/bucket/p":                          "want two slashes before it: s3://bucket/p;",
		"s3:bucket":                             "want two slashes before it: s3://bucket;",
		"s3://key:secret@b/p":                   "credentials in a URL",
		"s3://key:sec/ret@b/p":                  "credentials in a URL",
		"s3:/key:secret@b/p":                    "credentials in a URL",
		"s3:key:secret@b/p":                     "credentials in a URL",
		"s3://b/p?secret_key=secret":            "credentials in a URL",
		"s3://b/p?fs.s3a.access.key=secret":     "credentials in a URL",
		"s3://b/p?aws_session_token=secret":     "credentials in a URL",
		"s3://b/p?endpoint=http://key:secret@h": "credentials in a URL",
		"s3://b/p?endpoint=http://key:secret%zz@h":   "query",
		"s3://My-Bucket/p":                           `"my-bucket" is another`,
		"s3://my_bucket/p":                           "no underscores",
		"s3://-bucket/p":                             "first and last",
		"s3://bucket-/p":                             "first and last",
		"s3://" + strings.Repeat("b", 64):            "up to 63",
		"s3://bücket/p":                              "want up to 63 of a to z",
		"s3://127.0.0.1:9000/b":                      "endpoint=http://127.0.0.1:9000",
		"s3://127.0.0.1/b":                           "endpoint=http://127.0.0.1",
		"s3://b/a//b":                                `element ""`,
		"s3://b/a/../b":                              `element ".."`,
		"s3://b/p#x":                                 "%23",
		"s3://b/p?regoin=x":                          "did you mean region=?",
		"s3://b/p?pathStyle=true":                    "did you mean path_style=?",
		"s3://b/p?s3.path-style-access=true":         "did you mean path_style=?",
		"s3://b/p?endpoint_url=http://h":             "did you mean endpoint=?",
		"s3://b/p?Region=x":                          "did you mean region=?",
		"s3://b/p?kms_key_id=k":                      "did you mean sse_kms_key_id=?",
		"s3://b/p?colour=x":                          "there are ca, checksums, endpoint",
		"s3://b/p?region=x&region=y":                 "region is given 2 times",
		"s3://b/p?region=":                           "region is empty",
		"s3://b/p?endpoint=minio:9000":               "want http://host:port or https://host: endpoint=http://minio:9000;",
		"s3://b/p?endpoint=localhost":                "endpoint=http://localhost;",
		"s3://b/p?endpoint=ftp://h":                  "want http://host:port",
		"s3://b/p?endpoint=http://":                  "want http://host:port",
		"s3://b/p?endpoint=http://minio:9000/bucket": "want no path there (the bucket stands after s3://): endpoint=http://minio:9000;",
		"s3://b/p?path_style=perhaps":                "want true or false",
		"s3://b/p?checksums=none":                    "want when_supported or when_required",
		"s3://b/p?max_attempts=0":                    "want 1",
		"s3://b/p?max_attempts=a hundred":            "want 1",
	} {
		_, err := s3.Parse(url)
		switch {
		case err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "s3://my-bucket/ckptd?region=eu-central-1"):
			t.Errorf("%s: error %v, want one with %q and a right URL", url, err, why)
		case strings.Contains(strings.NewReplacer("AWS_SECRET_ACCESS_KEY", "", "secret_key=", "").Replace(err.Error()), "secret"):
			t.Errorf("%s: the error repeats a secret, want none: %v", url, err)
		}
	}
}
