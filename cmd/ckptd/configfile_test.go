package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/service/config"
)

// TestReachS3 applies a file's keys of S3 to the root, and leaves every other root as it is.
func TestReachS3(t *testing.T) {
	s := config.S3{Endpoint: "http://127.0.0.1:9000", Region: "eu-west-3", PathStyle: "true"}
	for root, want := range map[string]string{
		"":                    "",
		"/var/lib/ckptd":      "/var/lib/ckptd",
		"hdfs://n/p":          "hdfs://n/p",
		"s3://b/flink":        "s3://b/flink?endpoint=http%3A%2F%2F127.0.0.1%3A9000&path_style=true&region=eu-west-3",
		"s3a://b?region=home": "s3a://b?endpoint=http%3A%2F%2F127.0.0.1%3A9000&path_style=true&region=home",
	} {
		if got, err := reachS3(root, s); err != nil || got != want {
			t.Errorf("reachS3(%q) = %q, %v; want %q", root, got, err, want)
		}
	}
	if got, err := reachS3("s3://b/p", config.S3{SecretKey: "topsecret"}); err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("half of the credentials: %q, %v; want an error without the secret", got, err)
	}
}

// TestReachS3WithCredentials: the keys of the file take the place of those of the environment, with their token.
func TestReachS3WithCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "of the environment")
	}
	s := config.S3{AccessKey: "key", SecretKey: "topsecret"}
	if _, err := reachS3("/var/lib/ckptd", s); err != nil || os.Getenv("AWS_ACCESS_KEY_ID") != "of the environment" {
		t.Errorf("a root without S3: %v, want the environment as it was", err)
	}
	root, err := reachS3("s3://b/p", s)
	if err != nil || strings.Contains(root, "topsecret") {
		t.Fatalf("%q, %v; want a root without secrets", root, err)
	}
	if id, secret, token := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN"); id != "key" || secret != "topsecret" || token != "" {
		t.Errorf("the environment has %q, %q, %q; want the file's keys and no token", id, secret, token)
	}
}

// TestReadConfigNotes counts what a file says to other parts of Flink, in one line that names the file.
func TestReadConfigNotes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("rest: {port: 1}\nexecution.checkpointing.interval: 1s\nblob.server.port: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var notes []string
	if _, err := readConfig(path, func(note string) { notes = append(notes, note) }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"passed over 2 keys of other parts of Flink: rest.port, blob.server.port"}; !slices.Equal(notes, want) {
		t.Errorf("noted %q, want %q", notes, want)
	}
}
