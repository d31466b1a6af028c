package config

import (
	"fmt"
	"strings"
)

// S3 holds Flink's keys that say how to reach an S3 store. An empty field: the file does not give it.
type S3 struct {
	// Endpoint is the URL of the server, with its scheme.
	Endpoint, Region string
	// PathStyle is "true", "false" or empty.
	PathStyle                          string
	AccessKey, SecretKey, SessionToken Secret
}

// Secret is a text that is never printed.
type Secret string

// String says that there is a secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(secret)"
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// s3Keys returns the keys of Flink's S3 file systems that ckptd uses. Flink hands these keys to Hadoop's and to
// Presto's file system, which have spellings of their own.
func s3Keys() []option {
	spelled := func(names ...string) (key string, old []string) {
		for _, name := range names {
			for _, prefix := range []string{"s3.", "s3a.", "fs.s3a.", "presto.s3."} {
				old = append(old, prefix+name)
			}
		}
		return old[0], old[1:]
	}
	text := func(field func(s *S3) *string, names ...string) option {
		key, old := spelled(names...)
		return option{key: key, old: old, get: nothing, set: func(f *File, v string) error { *field(&f.S3) = v; return nil }}
	}
	secret := func(field func(s *S3) *Secret, names ...string) option {
		key, old := spelled(names...)
		return option{key: key, old: old, get: nothing, set: func(f *File, v string) error { *field(&f.S3) = Secret(v); return nil }}
	}
	pathStyle, pathStyles := spelled("path.style.access", "path-style-access")
	endpoint, endpoints := spelled("endpoint")
	return []option{
		{key: endpoint, old: endpoints, get: nothing, set: setEndpoint},
		text(func(s *S3) *string { return &s.Region }, "region", "endpoint.region"),
		{key: pathStyle, old: pathStyles, get: nothing, set: setPathStyle},
		secret(func(s *S3) *Secret { return &s.AccessKey }, "access-key", "access.key"),
		secret(func(s *S3) *Secret { return &s.SecretKey }, "secret-key", "secret.key"),
		secret(func(s *S3) *Secret { return &s.SessionToken }, "session-token", "session.token"),
	}
}

// setEndpoint accepts an endpoint with or without its scheme. Flink's file systems take https for one without.
func setEndpoint(f *File, v string) error {
	if strings.Contains(v, "@") {
		return fmt.Errorf("an endpoint holds no credentials; write them as s3.access-key and s3.secret-key")
	}
	if !strings.Contains(v, "://") {
		v = "https://" + v
	}
	f.S3.Endpoint = v
	return nil
}

func setPathStyle(f *File, v string) error {
	v = strings.ToLower(v)
	if v != "true" && v != "false" {
		return fmt.Errorf("%q is unknown; allowed is true or false", v)
	}
	f.S3.PathStyle = v
	return nil
}
