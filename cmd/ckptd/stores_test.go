package main

import (
	"strings"
	"testing"
)

func TestNormalRoot(t *testing.T) {
	for root, want := range map[string]string{
		"file:///var/lib/ckptd/":                 "file:///var/lib/ckptd",
		"/var/lib/ckptd":                         "file:///var/lib/ckptd",
		"file:/var/lib/ckptd":                    "file:///var/lib/ckptd", // as Hadoop prints it
		"file:/a%20b":                            "file:///a%20b",
		"file://localhost/a":                     "file:///a",
		"FILE:///a":                              "file:///a",
		"/a/b:c":                                 "file:///a/b:c",
		"S3A://b/p":                              "s3://b/p",
		"s3://b/p/":                              "s3://b/p",
		"s3a://b/p?region=eu-central-1":          "s3://b/p?region=eu-central-1",
		"s3n://b":                                "s3://b",
		"s3p://b/p/?endpoint=http://h:9/":        "s3://b/p?endpoint=http://h:9",
		"s3://b/p/clicks?region=r&path_style=1":  "s3://b/p/clicks?path_style=true&region=r",
		"s3://b/p/a b?endpoint=https://minio.tu": "s3://b/p/a%20b?endpoint=https://minio.tu",
	} {
		got, err := normalRoot(root)
		if err != nil || got != want {
			t.Errorf("normalRoot(%q) = %q, %v; want %q", root, got, err, want)
		}
		if again, err := normalRoot(got); err != nil || again != got {
			t.Errorf("normalRoot(%q) = %q, %v; want it unchanged", got, again, err)
		}
	}
}

// What is wrong with a root is said, with a right one beside it, and never a password.
func TestWrongRoot(t *testing.T) {
	for root, want := range map[string]string{
		"":                           "empty; a right one is file:///var/lib/ckptd",
		"file://dir/x":               "want three slashes: file:///dir/x",
		"file://":                    "want a path and nothing else",
		"file:///a?b=c":              "want a path and nothing else",
		"file:":                      "right ones are file:///var/lib/ckptd, s3://my-bucket/ckptd",
		"s3:/b/p":                    "want two slashes before it: s3://b/p",
		"s3:/key:topsecret@b/p":      "s3://",
		"s3:b/p":                     "s3://",
		"arn:aws:s3:::b":             "neither a URL nor a plain path",
		"~/ckptd":                    "write $HOME/ckptd or, if a folder has that name, ./~/ckptd",
		"b:p":                        "if a folder has that name, ./b:p",
		"s3://":                      "no bucket",
		"s3://b/p?regoin=x":          "unknown parameter",
		"s3://key:topsecret@b/p":     "credentials",
		"s3://key:topsecret%zz@b/p":  "credentials",
		"s3://key:top/topsecret@b/p": "credentials",
		"s3://h:9000/b":              "endpoint=http://h:9000",
		"gs://b/p":                   "no driver for gs://",
		"hdfs://u:topsecret@nn/p":    "no driver for hdfs://",
		"x://u:topsecret%zz@nn/p":    "not a URL; right ones are file:///var/lib/ckptd",
		"https://b.s3.aws.example/p": "s3://my-bucket/ckptd?endpoint=https://host:port",
	} {
		got, err := normalRoot(root)
		if err == nil {
			t.Errorf("normalRoot(%q) = %q, want an error", root, got)
			continue
		}
		if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "topsecret") {
			t.Errorf("normalRoot(%q): %s; want it to say %q", root, text, want)
		}
	}
}

func TestCutLast(t *testing.T) {
	for at, want := range map[string][2]string{
		"file:///a/b":                {"file:///a", "b"},
		"s3://b/p/clicks/chk-42":     {"s3://b/p/clicks", "chk-42"},
		"s3://b/clicks?endpoint=x%2": {"s3://b?endpoint=x%2", "clicks"},
		"s3://b?region=r":            {"s3://?region=r", "b"},
	} {
		if parent, last := cutLast(at); parent != want[0] || last != want[1] {
			t.Errorf("cutLast(%q) = %q, %q; want %q", at, parent, last, want)
		}
		if got := below(want[0], want[1]); got != at && want[0] != "s3://?region=r" {
			t.Errorf("below(%q) = %q, want %q", want, got, at)
		}
	}
}

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{
		"file:///a/b":          "file:///a/b",
		"s3://b/p?region=r&x":  "'s3://b/p?region=r&x'",
		"file:///it's a place": `'file:///it'\''s a place'`,
	} {
		if got := shellWord(word); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", word, got, want)
		}
	}
}
