package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A file is deleted while a list makes durable what it is about to show. The folder that the file was in goes all the same once it is
// empty.
func TestDeletedWhileListed(t *testing.T) {
	t.Parallel()
	root := memoryDir(t)
	writer := openAt(t, root, realSystem()).Store
	publish(t, writer, "job/chk-1/_metadata")
	publish(t, writer, "job/chk-1/file")

	sys := realSystem()
	s := openAt(t, root, sys).Store
	real, during := sys.syncDir, false
	sys.syncDir = func(f *os.File) error {
		if filepath.Base(f.Name()) == "chk-1" && !during {
			during = true
			if errs := s.Delete(t.Context(), []string{"job/chk-1/_metadata"}); errors.Join(errs...) != nil {
				t.Error(errs)
			}
		}
		return real(f)
	}
	listed(t, s, "job/")
	if !during {
		t.Fatal("the list synced no folder")
	}
	if errs := s.Delete(t.Context(), []string{"job/chk-1/file"}); errors.Join(errs...) != nil {
		t.Error(errs)
	}
	if _, err := os.Stat(filepath.Join(root, "job/chk-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty folder: %v, want that it is gone", err)
	}
}
