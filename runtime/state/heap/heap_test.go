package heap_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state/heap"
	"github.com/ckptd/ckptd/runtime/state/statetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBackend(t *testing.T) { statetest.Backends(t, heap.Open) }

// The stream must not wait for the file of a snapshot. A backend whose folder is gone shows who writes the file: Snapshot
// itself does not fail, and the file's reader does.
func TestSnapshotWritesNothingItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	b, err := heap.Open(t.Context(), dir, keygroup.Range{End: 127}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s, err := b.Snapshot(1)
	if err != nil {
		t.Fatalf("Snapshot has written the file itself: %v", err)
	}
	if _, err := s.Files[0].Reader(); err == nil {
		t.Error("a file in a folder that is gone could be read")
	}
	s.Release()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
