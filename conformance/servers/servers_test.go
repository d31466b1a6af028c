package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ending is a test that notes what ends it.
type ending struct {
	testing.TB
	said string
}

func (e *ending) Helper()      {}
func (e *ending) Name() string { return "TestOfAServer" }

func (e *ending) Fatalf(format string, args ...any) {
	e.said = fmt.Sprintf(format, args...)
	panic(e)
}

func (e *ending) Skip(args ...any) {
	e.said = "skipped: " + fmt.Sprint(args...)
	panic(e)
}

// binaryOf is what binary gives a test, or what it ends it with.
func binaryOf(t *testing.T, name string) (path, said string) {
	e := &ending{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(e) {
			panic(r)
		}
		said = e.said
	}()
	return binary(e, name), ""
}

// module makes a folder that holds a module, and goes there. The sources of versitygw there are those of a program
// that does nothing.
func module(t *testing.T) string {
	dir := t.TempDir()
	source := filepath.Join(dir, "conformance", "servers", Versitygw)
	if err := os.MkdirAll(source, 0o777); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(dir, "go.mod"):     "module example.com/all\n",
		filepath.Join(source, "go.mod"):  "module github.com/versity/versitygw/cmd/versitygw\n",
		filepath.Join(source, "main.go"): "package main\n\nfunc main() {}\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Join(dir, "conformance"))
	return dir
}

// A server that is not there is built, or fails its test, which says its name and how to get it. A test without its
// server never passes.
func TestMissingServer(t *testing.T) {
	for _, c := range []struct {
		what, name, ci string
		built          bool
		why            string
	}{
		{"a light one is built", Versitygw, "", true, ""},
		{"a light one that cannot be built", Gofakes3, "", false, "go build"},
		{"a heavy one", MinIO, "", false, "too long"},
		{"in CI", Versitygw, "true", false, "in CI"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Setenv("CI", c.ci)
			t.Setenv("CKPTD_CI", "")
			want := filepath.Join(module(t), "bin", c.name)
			path, said := binaryOf(t, c.name)
			if _, err := os.Stat(want); (err == nil) != c.built {
				t.Errorf("%s: %v, want it built: %v", want, err, c.built)
			}
			if c.built {
				if path != want || said != "" {
					t.Errorf("path %q, said %q; want path %q", path, said, want)
				}
				return
			}
			for _, word := range []string{"TestOfAServer", "bin/" + c.name, "`make servers`", c.why} {
				if strings.HasPrefix(said, "skipped") || !strings.Contains(said, word) {
					t.Errorf("ends with %q, want a failure that says %q", said, word)
				}
			}
		})
	}
}
