package main

import "testing"

func TestNormalRoot(t *testing.T) {
	for root, want := range map[string]string{
		"file:///var/lib/ckptd/":                 "file:///var/lib/ckptd",
		"/var/lib/ckptd":                         "file:///var/lib/ckptd",
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
	for _, root := range []string{"", "file:/x", "s3://", "s3://b/p?regoin=x", "s3://key:secret@b/p", "s3://h:9000/b"} {
		if got, err := normalRoot(root); err == nil {
			t.Errorf("normalRoot(%q) = %q, want an error", root, got)
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
