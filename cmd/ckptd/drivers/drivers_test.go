package drivers

import (
	"slices"
	"strings"
	"testing"
)

// Each row of the table is whole: its example and each of its schemes find it, and no other row has them.
func TestTableOfDrivers(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range All() {
		if d.Form == "" || d.Open == nil {
			t.Errorf("%s: form %q, open %t; want both", d.Kind(), d.Form, d.Open != nil)
		}
		got, normal, err := Find(d.Example)
		if err != nil || got.Kind() != d.Kind() || normal != d.Example {
			t.Errorf("Find(%q) = %s, %q, %v; want %s and the example unchanged", d.Example, got.Kind(), normal, err, d.Kind())
		}
		for _, scheme := range d.Schemes {
			_, rest, _ := strings.Cut(d.Example, "://")
			if got, _, err := Find(scheme + "://" + rest); err != nil || got.Kind() != d.Kind() || seen[scheme] || scheme != strings.ToLower(scheme) {
				t.Errorf("scheme %s finds %s, %v (seen before: %t); want only %s", scheme, got.Kind(), err, seen[scheme], d.Kind())
			}
			seen[scheme] = true
		}
		for scheme := range d.Mistaken {
			if slices.ContainsFunc(All(), func(d Driver) bool { return slices.Contains(d.Schemes, scheme) }) {
				t.Errorf("%s: %s:// is called a mistake, but it is a scheme", d.Kind(), scheme)
			}
		}
		if !strings.Contains(Examples(), d.Example) || !strings.Contains(Forms(), d.Form) {
			t.Errorf("%s: not in %q and %q", d.Kind(), Examples(), Forms())
		}
	}
}

// A path and its URL open the same store, and one that is opened to read refuses to write.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	written, err := Open(t.Context(), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer written.Close()
	if err := written.Store.Publish(t.Context(), "job/_journal/1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	read, err := Open(t.Context(), "file://"+dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if info, err := read.Store.Stat(t.Context(), "job/_journal/1"); err != nil || info.Size != 1 {
		t.Errorf("stat: %v, %v; want the object of 1 byte", info, err)
	}
	if err := read.Store.Publish(t.Context(), "job/_journal/2", []byte("x")); err == nil {
		t.Error("a store that was opened to read was written to, want an error")
	}
}

func TestNormal(t *testing.T) {
	for root, want := range map[string]string{
		"file:///var/lib/ckptd/":                 "file:///var/lib/ckptd",
		"/var/lib/ckptd":                         "file:///var/lib/ckptd",
		"file:/var/lib/ckptd":                    "file:///var/lib/ckptd", // as Hadoop prints it
		"file:/a%20b":                            "file:///a%20b",
		"File:/a":                                "file:///a",
		"/a/b?c=d://e":                           "file:///a/b%3Fc=d:/e",
		"file://localhost/a":                     "file:///a",
		"FILE:///a":                              "file:///a",
		"/a/b:c":                                 "file:///a/b:c",
		"S3A://b/p":                              "s3://b/p",
		"s3://b/p/":                              "s3://b/p",
		"s3a://b/p?region=eu-central-1":          "s3://b/p?region=eu-central-1",
		"s3n://b":                                "s3://b",
		"s3p://b/p/?endpoint=http://h:9/":        "s3://b/p?endpoint=http://h:9",
		"s3://b/p/clicks?region=r&path_style=1":  "s3://b/p/clicks?path_style=true&region=r",
		"GS://bkt/p/?max_attempts=1":             "gs://bkt/p?max_attempts=1",
		"gs://bkt?endpoint=http://h:9/":          "gs://bkt?endpoint=http://h:9",
		"s3://b/p/a b?endpoint=https://minio.tu": "s3://b/p/a%20b?endpoint=https://minio.tu",
		"hdfs://nn1:8020,NN2:8020/a/":            "hdfs://nn1:8020,nn2:8020/a",
		"HDFS://u@ns/a?replication=2":            "hdfs://u@ns/a?replication=2",
		"hdfs:///a/b?blocksize=64m&conf=/e/h":    "hdfs:///a/b?blocksize=67108864&conf=/e/h",
	} {
		got, err := Normal(root)
		if err != nil || got != want {
			t.Errorf("Normal(%q) = %q, %v; want %q", root, got, err, want)
		}
		if again, err := Normal(got); err != nil || again != got {
			t.Errorf("Normal(%q) = %q, %v; want it unchanged", got, again, err)
		}
	}
}

// The error for a wrong root says what is wrong and gives a valid root. It never holds a password.
func TestWrongRoot(t *testing.T) {
	for root, want := range map[string]string{
		"":                             "empty; a right one is file:///var/lib/ckptd",
		"file://dir/x":                 "want three slashes: file:///dir/x",
		"file://":                      "want a path and nothing else",
		"file:///a?b=c":                "want a path and nothing else",
		"file:":                        "right ones are file:///var/lib/ckptd, s3://my-bucket/ckptd",
		"s3:/b/p":                      "want two slashes before it: s3://b/p",
		"s3:/key:topsecret@b/p":        "s3://",
		"s3:b/p":                       "s3://",
		"arn:aws:s3:::b":               "neither a URL nor a plain path",
		"~/ckptd":                      "write \"$HOME\"/ckptd or, if a folder has that name, './~/ckptd'",
		"b:p":                          "if a folder has that name, ./b:p",
		"s3://":                        "no bucket",
		"s3://b/p?regoin=x":            "unknown parameter",
		"s3://key:topsecret@b/p":       "credentials",
		"s3://key:topsecret%zz@b/p":    "credentials",
		"s3://key:top/topsecret@b/p":   "credentials",
		"s3://h:9000/b":                "endpoint=http://h:9000",
		"hdfs://u:topsecret@nn/p":      "a password in a URL",
		"hdfs://u:topsecret%zz@nn/p":   "a password in a URL",
		"hdfs://u:top/topsecret@nn":    "a password in a URL",
		"hdfs://nn":                    "no folder",
		"hdfs:///":                     "no folder",
		"hdfs:/nn/p":                   "two slashes",
		"hdfs://nn/p?replicas=3":       "unknown parameter \"replicas\"",
		"hdfs://nn/p?blocksize=1000":   "a multiple of 512",
		"hdfs://n n/p":                 "want NameNodes",
		"viewfs://c/p":                 "hdfs://nameservice/dir",
		"x://u:topsecret%zz@nn/p":      "not a URL; right ones are file:///var/lib/ckptd",
		"gcs://b/p":                    "a bucket of Google's is gs://",
		"gs://":                        "no bucket",
		"gs:/my-b/p":                   "want two slashes before it: gs://my-b/p",
		"gs://topsecret@bkt/p":         "credentials",
		"gs://h:9000/b":                "endpoint=http://h:9000",
		"gs://bkt/p?acces=topsecret":   "gs://",
		"gs://bkt/p?kms_key=topsecret": "want projects/P",
		"gs://bkt?endpoint=topsecret":  "want http://host:port",
		"s3:/key:topsecret@b/x?endpoint=http://h":  "credentials in a URL",
		"s3:/topkey:topsecret/b?endpoint=http://h": "no bucket",
		"S3:/key:topsecret@b/x":                    "credentials in a URL",
		"s3//key:topsecret@b/x":                    "not a URL",
		"key:topsecret@b/x?endpoint=http://h":      "not a URL",
		"b/x?endpoint=http://h":                    "not a URL",
		"b/x?secret_key=topsecret":                 "not a URL",
		"key:topsecret@b":                          "not a URL",
		"s3 ://key:topsecret@b/x":                  "not a URL",
		"file://u:topsecret@h/x":                   "not a URL",
		"file:///x?password=topsecret":             "want a path and nothing else",
		"s3://key:topsecret":                       "s3://",
		"s3:key:topsecret":                         "s3://",
		"s3:/key:topsecret/x":                      "s3://",
		"s3:/key:topsec?topsecret@b/x":             "s3://",
		"s3://b/p?topsecret@x":                     "s3://",
		"s3://b/p?acces=topsecret":                 "s3://",
		"s3://b/p?region=topsecret%zz":             "s3://",
		"s3://b/p?endpoint=http://key:topsecret":   "endpoint",
		"s3://b/p?endpoint=key:topsecret":          "endpoint",
		"s3://b/p?endpoint=http://h?t=topsecret":   "endpoint",
		"s3://b/p?endpoint=http://h/topsecret":     "endpoint",
		"https://b.s3.aws.example/p":               "s3://my-bucket/ckptd?endpoint=https://host:port",
	} {
		got, err := Normal(root)
		if err == nil {
			t.Errorf("Normal(%q) = %q, want an error", root, got)
			continue
		}
		if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "topsecret") {
			t.Errorf("Normal(%q): %s; want it to say %q", root, text, want)
		}
	}
}

func TestCutLast(t *testing.T) {
	for at, want := range map[string][2]string{
		"file:///a/b":                {"file:///a", "b"},
		"s3://b/p/clicks/chk-42":     {"s3://b/p/clicks", "chk-42"},
		"s3://b/clicks?endpoint=x%2": {"s3://b?endpoint=x%2", "clicks"},
		"s3://b?region=r":            {"s3://?region=r", "b"},
		"clicks":                     {"", "clicks"},
		"":                           {"", ""},
	} {
		if parent, last := CutLast(at); parent != want[0] || last != want[1] {
			t.Errorf("CutLast(%q) = %q, %q; want %q", at, parent, last, want)
		}
		if got := Below(want[0], want[1]); got != at && want[0] != "s3://?region=r" && want[0] != "" {
			t.Errorf("Below(%q) = %q, want %q", want, got, at)
		}
	}
}
