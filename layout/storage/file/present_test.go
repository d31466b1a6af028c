package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

// Every operation reports a root that was moved away, or whose path leads to another folder. Nothing is written
// elsewhere, and nothing is called absent. Everything works again when the root is back.
func TestRootElsewhere(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, root string){
		"moved": func(*testing.T, string) {},
		"replaced": func(t *testing.T, root string) {
			if err := os.MkdirAll(filepath.Join(root, "job", "shared"), 0o777); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			opened, err := Open(t.Context(), root, nil)
			if err != nil {
				t.Fatal(err)
			}
			s := opened.Store
			for _, key := range []string{"_ckptd", "job/shared/a", "job/shared/b"} {
				if err := s.Publish(t.Context(), key, []byte(key)); err != nil {
					t.Fatal(err)
				}
			}
			begun, err := s.Create(t.Context(), "job/shared/begun", storage.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(root, root+".x"); err != nil {
				t.Fatal(err)
			}
			replace(t, root)
			before := treeOf(t, filepath.Dir(root))
			for op, err := range everyOperation(t.Context(), s, begun) {
				if !errors.Is(err, storage.ErrMoved) || errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrExists) || !strings.Contains(err.Error(), "the root") &&
					!strings.Contains(err.Error(), "another folder") {
					t.Errorf("%s: %v, want an error that says that the root is elsewhere", op, err)
				} else if strings.Count(err.Error(), "put it back") > 1 {
					t.Errorf("%s: %v, want the reason once", op, err)
				}
			}
			if after := treeOf(t, filepath.Dir(root)); after != before {
				t.Errorf("the files changed, want them as before; before:\n%safter:\n%s", before, after)
			}
			if err := errors.Join(os.RemoveAll(root), os.Rename(root+".x", root)); err != nil {
				t.Fatal(err)
			}
			if err := s.Publish(t.Context(), "job/shared/c", nil); err != nil {
				t.Error(err)
			}
			if _, err := s.Stat(t.Context(), "job/shared/a"); err != nil {
				t.Error(err)
			}
		})
	}
}

// everyOperation does each operation once.
func everyOperation(ctx context.Context, s storage.Store, begun storage.Writer) map[string]error {
	errs := map[string]error{}
	errs["commit"] = begun.Commit()
	begun.Abort()
	errs["publish"] = s.Publish(ctx, "job/shared/new", nil)
	errs["publish at the top"] = s.Publish(ctx, "new", nil)
	errs["publish what exists"] = s.Publish(ctx, "job/shared/a", nil)
	w, err := s.Create(ctx, "job/chk-1/_metadata", storage.CreateOptions{IfAbsent: true})
	if err == nil {
		err = w.Commit()
		w.Abort()
	}
	errs["create"] = err
	_, errs["stat"] = s.Stat(ctx, "job/shared/a")
	r, err := s.Open(ctx, "job/shared/a", 0, -1)
	if err == nil {
		r.Close()
	}
	errs["open"] = err
	for _, errs["list"] = range s.List(ctx, "job/_journal/") {
	}
	for _, errs["folders"] = range storage.Folders(ctx, s, "") {
	}
	errs["delete"] = errors.Join(s.Delete(ctx, []string{"job/shared/b"})...)
	_, errs["abort unfinished"] = s.AbortUnfinished(ctx, "", func(string) bool { return true })
	return errs
}

// treeOf returns all paths below a folder, a line each.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		b.WriteString(path + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
