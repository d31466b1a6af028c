package freshfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ckptd/ckptd/proto/freshfile"
)

var errBad = errors.New("bad contents")

// pair joins two contents, and refuses those that do not belong together, as a certificate and a key.
func pair(contents [][]byte) (string, error) {
	a, b := string(contents[0]), string(contents[1])
	if a != b {
		return "", errBad
	}
	return a, nil
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	replace := func(path, text string) { // as rotations do: by a rename
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := freshfile.Open(pair, a, b); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files that are not there: %v, want an error that says so", err)
	}
	replace(a, "one")
	replace(b, "one")
	f, err := freshfile.Open(pair, a, b)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(when, want string, wantErr error) {
		t.Helper()
		if got, err := f.Get(); got != want || !errors.Is(err, wantErr) {
			t.Errorf("%s: %q, %v; want %q, %v", when, got, err, want, wantErr)
		}
	}
	expect("at first", "one", nil)
	replace(a, "two")
	expect("one of two is replaced", "one", errBad)
	expect("at the next look", "one", nil)
	replace(b, "two")
	expect("both are replaced", "two", nil)
	if err := os.Remove(a); err != nil {
		t.Fatal(err)
	}
	expect("one is removed", "two", os.ErrNotExist)
	expect("at the next look", "two", nil)
	replace(a, "two")
	expect("it is there again", "two", nil)
	if err := os.WriteFile(b, []byte("rewritten"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a, []byte("rewritten"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("both are written in their place", "rewritten", nil)
}

// A mounted volume replaces a folder that a symbolic link names; the files themselves keep their names.
func TestLinkedFolder(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "current")
	for _, version := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "file"), []byte(version), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("one", at); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(at, "file")
	f, err := freshfile.Open(pair, path, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("two", at+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at+".new", at); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Get(); got != "two" || err != nil {
		t.Errorf("after the link was replaced: %q, %v; want %q", got, err, "two")
	}
}
