package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/conformance/oddfs"
)

// An unfit file system is refused when it is opened, and the error says what it lacks. A plain FUSE file system is
// fit.
func TestOddFileSystems(t *testing.T) {
	for _, c := range []struct {
		name  string
		lacks oddfs.Lacks
		text  string
	}{
		{"plain", oddfs.Lacks{}, ""},
		{"no hard links", oddfs.Lacks{NoLinks: true}, "the file system (FUSE) has no hard links"},
		{"folds case", oddfs.Lacks{FoldsCase: true}, "(on FUSE) does not tell upper case from lower case"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := oddfs.Mount(t, memoryDir(t), c.lacks)
			if c.lacks.FoldsCase {
				upper, lower := filepath.Join(dir, "A"), filepath.Join(dir, "a")
				if err := os.Mkdir(upper, 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(lower); err != nil {
					t.Fatalf("the mounted file system does not fold case: %v", err)
				}
			}
			for _, root := range []string{dir, filepath.Join(dir, "new")} {
				opened, err := Open(t.Context(), root, nil)
				if c.text != "" {
					if err == nil || !strings.Contains(err.Error(), c.text) {
						t.Errorf("Open(%s) = %v, want an error with %q", root, err, c.text)
					}
					if left := everything(t, root); len(left) != 1 {
						t.Errorf("left behind: %v, want 1 path", left)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				publish(t, opened.Store, "job/_journal/1")
				if got := listed(t, opened.Store, "job/"); len(got) != 1 {
					t.Errorf("List = %v, want the published object", got)
				}
				if errs := opened.Store.Delete(t.Context(), []string{"job/_journal/1"}); errs != nil {
					t.Error(errs)
				}
			}
		})
	}
}
