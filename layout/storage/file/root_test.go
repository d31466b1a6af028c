package file

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

// everything lists all paths below dir, with folders and temporaries.
func everything(t *testing.T, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		paths = append(paths, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestRefusesWithoutHardLinks(t *testing.T) {
	for _, named := range []bool{false, true} {
		sys := realSystem()
		if named {
			sys = withoutUnnamed()
		}
		sys.link = func(*os.File, string, *os.File, string) error { return unix.EPERM }
		root := t.TempDir()
		_, err := open(t.Context(), root, nil, sys)
		if err == nil || !strings.Contains(err.Error(), "has no hard links") {
			t.Errorf("open of an empty root without hard links: %v, want an error that says so", err)
		}
		if left := everything(t, root); len(left) != 1 {
			t.Errorf("left behind: %v, want 1 path", left)
		}
		// A root that holds something is not written to before the first mutation; then the mutation is refused.
		if err := os.WriteFile(filepath.Join(root, "foreign"), nil, 0o666); err != nil {
			t.Fatal(err)
		}
		s := openAt(t, root, sys).Store
		err = s.Publish(t.Context(), "a/b", nil)
		if err == nil || errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "has no hard links") {
			t.Errorf("publish without hard links: %v, want an error that says so and is not unknown", err)
		}
	}
}

// A folder that folds case is noticed. Here every link gets its name in both cases.
func TestRefusesFoldersThatFoldCase(t *testing.T) {
	for _, named := range []bool{false, true} {
		sys := realSystem()
		if named {
			sys = withoutUnnamed()
		}
		link := sys.link
		sys.link = func(f *os.File, path string, dir *os.File, name string) error {
			if err := link(f, path, dir, name); err != nil {
				return err
			}
			return os.Link(filepath.Join(dir.Name(), name), filepath.Join(dir.Name(), strings.ToUpper(name)))
		}
		root := t.TempDir()
		_, err := open(t.Context(), root, nil, sys)
		if err == nil || !strings.Contains(err.Error(), "does not tell upper case from lower case") {
			t.Errorf("open of an empty root that folds case: %v, want an error that says so", err)
		}
	}
}

// Two processes may probe one root at once, and each removes the other's folder of temporaries.
func TestProbeBesideAnother(t *testing.T) {
	sys := realSystem()
	mkdir, made := sys.mkdir, 0
	sys.mkdir = func(path string) error {
		err := mkdir(path)
		if made++; made == 1 {
			err = errors.Join(err, os.Remove(path))
		}
		return err
	}
	root := t.TempDir()
	publish(t, openAt(t, root, sys).Store, "a")
	if left := everything(t, root); made < 2 || len(left) != 2 {
		t.Errorf("%d folders made, left: %v; want at least 2 made, and 2 paths left", made, left)
	}
}

func TestRefusesWithoutSyncOfFolders(t *testing.T) {
	sys := realSystem()
	sys.syncDir = func(*os.File) error { return unix.EINVAL }
	_, err := open(t.Context(), t.TempDir(), nil, sys)
	if err == nil || !strings.Contains(err.Error(), "folders cannot be synced") {
		t.Errorf("open of a root whose folders cannot be synced: %v, want an error that says so", err)
	}
}

// Opening a root of another program writes nothing, and neither does reading it.
func TestOpenWritesNothingIntoForeignRoots(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "a", "chk-1"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "a", "chk-1", "_metadata"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	sys := realSystem()
	sys.openUnnamed = func(dir string) (*os.File, error) {
		t.Errorf("openUnnamed(%s), want no write", dir)
		return nil, errUnnamed
	}
	sys.createTemp = func(path string) (*os.File, error) {
		t.Errorf("createTemp(%s), want no write", path)
		return nil, errUnnamed
	}
	sys.mkdir = func(path string) error { t.Errorf("mkdir(%s), want no write", path); return unix.EPERM }
	sys.rmdir, sys.unlink = sys.mkdir, sys.mkdir
	s := openAt(t, root, sys).Store
	if got := listed(t, s, ""); !slices.Equal(got, []string{"a/chk-1/_metadata"}) {
		t.Errorf("List = %v, want the file that was there", got)
	}
}

func TestUnwritableFolder(t *testing.T) {
	t.Run("FS-20", func(t *testing.T) {
		root := t.TempDir()
		sys := realSystem()
		s := openAt(t, root, sys).Store
		publish(t, s, "a/f")
		before := everything(t, root)
		sys.link = func(*os.File, string, *os.File, string) error { return unix.EACCES }
		if err := s.Publish(t.Context(), "a/g", []byte("x")); !errors.Is(err, unix.EACCES) || errors.Is(err, storage.ErrUnknown) {
			t.Errorf("publish into a folder that cannot be written: %v, want an error that is not unknown", err)
		}
		if after := everything(t, root); !slices.Equal(before, after) {
			t.Errorf("there is %v, was %v; want no change", after, before)
		}
	})
}

func TestReadOnly(t *testing.T) {
	root := t.TempDir()
	publish(t, openAt(t, root, realSystem()).Store, "a/f")
	sys := realSystem()
	sys.syncDir = func(f *os.File) error { t.Errorf("sync of %s, want no sync", f.Name()); return nil }
	opened, err := open(t.Context(), root, &Options{ReadOnly: true}, sys)
	if err != nil {
		t.Fatal(err)
	}
	s := opened.Store
	before := everything(t, root)
	if got := listed(t, s, ""); !slices.Equal(got, []string{"a/f"}) {
		t.Errorf("List = %v, want the file that was there", got)
	}
	if err := s.Publish(t.Context(), "a/g", nil); err == nil {
		t.Error("publish into a read-only store: no error, want one")
	}
	if _, err := s.Create(t.Context(), "a/g", storage.CreateOptions{}); err == nil {
		t.Error("create in a read-only store: no error, want one")
	}
	if errs := s.Delete(t.Context(), []string{"a/f"}); len(errs) != 1 {
		t.Error("delete in a read-only store: no error, want one")
	}
	if _, err := s.AbortUnfinished(t.Context(), "", func(string) bool { return true }); err == nil {
		t.Error("abort unfinished in a read-only store: no error, want one")
	}
	if after := everything(t, root); !slices.Equal(before, after) {
		t.Errorf("the folder holds %v, want it unchanged: %v", after, before)
	}
	if _, err := Open(t.Context(), filepath.Join(root, "absent"), &Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open of an absent root for reading: %v, want that it does not exist", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for dir, text := range map[string]string{"": "no folder", plain: "not a", filepath.Join(plain, "below"): "not a"} {
		if _, err := Open(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("Open(%q): %v, want an error with %q", dir, err, text)
		}
	}
}

func TestFacts(t *testing.T) {
	root := filepath.Join(t.TempDir(), "with space")
	opened, err := Open(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f := opened.Facts; !strings.HasPrefix(f.Location, "file:///") || !strings.HasSuffix(f.Location, "/with%20space") || len(f.Notes) == 0 {
		t.Errorf("facts %+v, want kind and location of the root", f)
	}
	named := openAt(t, t.TempDir(), withoutUnnamed())
	if !strings.Contains(strings.Join(named.Facts.Notes, "\n"), "_tmp/") {
		t.Errorf("notes %v, want one that says that temporaries have names", named.Facts.Notes)
	}
}

// A temporary that a killed process left names its target. It is never listed, and is removed when its target is
// dead.
func TestAbortUnfinishedFindsWhatAKilledProcessLeft(t *testing.T) {
	root := t.TempDir()
	killed := openAt(t, root, withoutUnnamed()).Store
	targets := []string{"job/shared/a~b%c", "job/chk-7/_metadata", "job/_journal/1", "other/chk-1/f", "_ckptd"}
	for _, key := range targets {
		w, err := killed.Create(t.Context(), key, storage.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("half")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "job", "_tmp", "not ours"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, root, realSystem()).Store
	if keys := listed(t, s, ""); keys != nil {
		t.Errorf("List shows %v, want no temporaries", keys)
	}
	abort := func(prefix string, want int, wantAsked ...string) {
		t.Helper()
		var asked []string
		n, err := s.AbortUnfinished(t.Context(), prefix, func(key string) bool {
			asked = append(asked, key)
			return key != "job/_journal/1"
		})
		slices.Sort(asked)
		if err != nil || n != want || !slices.Equal(asked, wantAsked) {
			t.Errorf("AbortUnfinished(%q) = %d, %v after asking for %v; want %d, %v", prefix, n, err, asked, want, wantAsked)
		}
	}
	abort("job/chk-7/", 1, "job/chk-7/_metadata")
	abort("job/", 1, "job/_journal/1", "job/shared/a~b%c")
	abort("", 2, "_ckptd", "job/_journal/1", "other/chk-1/f")
	abort("", 0, "job/_journal/1")
	left := everything(t, root)
	if len(left) != 5 || !slices.Contains(left, "job/_tmp/not ours") {
		t.Errorf("left: %v, want 5 paths, job/_tmp/not ours among them", left)
	}
}

func FuzzTempName(f *testing.F) {
	for _, key := range []string{"a", "a/b", "~", "%7E~/%25", "a~b/c~d"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if storage.ValidateKey(key) != nil {
			return
		}
		s := &store{root: "/r", unique: newUnique()}
		path := s.tempPath("job/" + key)
		if filepath.Dir(path) != "/r/job/_tmp" {
			t.Fatalf("%q: temporary %s, want it in the job's _tmp", key, path)
		}
		if got, ok := parseTemp(filepath.Base(path)); !ok || got != key {
			t.Errorf("%q parses back as %q, %v; want the same", key, got, ok)
		}
	})
}

func TestAbortUnfinishedRemovesEmptyFolders(t *testing.T) {
	root := t.TempDir()
	s := openAt(t, root, realSystem()).Store
	if err := s.Publish(t.Context(), "job/_journal/1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "job", "chk-7"), 0o777); err != nil { // by a process killed right after
		t.Fatal(err)
	}
	if n, err := s.AbortUnfinished(t.Context(), "job/", func(string) bool { return true }); n != 0 || err != nil {
		t.Errorf("AbortUnfinished = %d, %v; want 0, no error", n, err)
	}
	if _, err := os.Stat(filepath.Join(root, "job", "chk-7")); !os.IsNotExist(err) {
		t.Errorf("the empty folder is still there: %v, want it removed", err)
	}
	if keys := listed(t, s, ""); len(keys) != 1 {
		t.Errorf("List shows %v, want 1 key", keys)
	}
}
