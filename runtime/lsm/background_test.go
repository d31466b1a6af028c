package lsm

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// hookedFS calls hooks before the tree makes or links a file.
type hookedFS struct {
	vfs.FS
	link   func()
	create func(name string, category vfs.DiskWriteCategory) error
}

func (h *hookedFS) Link(oldname, newname string) error {
	if h.link != nil {
		h.link()
	}
	return h.FS.Link(oldname, newname)
}

func (h *hookedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if h.create != nil {
		if err := h.create(name, category); err != nil {
			return nil, err
		}
	}
	return h.FS.Create(name, category)
}

// A failure in the background during a snapshot fails the snapshot, although the tree only logs the failure and
// continues.
func TestErrorDuringASnapshotFailsIt(t *testing.T) {
	e := engine(t, nil)
	fs := &hookedFS{FS: vfs.Default}
	e.fs = fs
	b := begin(t, e, nil)
	put(t, b, "k", "v")
	snapshot(t, b, 1) // so that the next one has nothing to flush
	broken := errors.New("bad sector")
	fs.link = func() { b.failed.set(broken) }
	if s, err := b.Snapshot(2); !errors.Is(err, broken) {
		t.Errorf("snapshot %v, %v; want the cause", s, err)
	}
	for what, err := range map[string]error{
		"get":      func() error { _, err := b.Get(7, []byte("k")); return err }(),
		"put":      b.Put(7, []byte("k"), []byte("w")),
		"snapshot": func() error { _, err := b.Snapshot(3); return err }(),
	} {
		if !errors.Is(err, broken) {
			t.Errorf("%s after the failure: %v, want its cause", what, err)
		}
	}
}

// A flush or a compaction that fails ends the backend, although the tree would repeat it for ever.
func TestBackgroundErrorsFailTheBackend(t *testing.T) {
	for _, work := range []string{"flush", "compaction"} {
		t.Run(work, func(t *testing.T) {
			e := engine(t, &Options{CompactAfter: 2})
			var injected atomic.Int32
			e.fs = &hookedFS{FS: vfs.Default, create: func(name string, category vfs.DiskWriteCategory) error {
				if flush := strings.Contains(string(category), "flush"); strings.HasSuffix(name, ".sst") && flush == (work == "flush") {
					injected.Add(1)
					return fmt.Errorf("no space for the %s", work)
				}
				return nil
			}}
			b := begin(t, e, nil)
			done := make(chan error, 1)
			go func() {
				for n := range uint64(100_000) {
					err := b.Put(7, []byte("k"), fmt.Append(nil, n))
					if err == nil {
						s, serr := b.Snapshot(n)
						if err = serr; err == nil {
							s.Release()
						}
					}
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), "no space for the "+work) || injected.Load() == 0 {
					t.Errorf("%v after %d failures, want that there was no space", err, injected.Load())
				}
			case <-time.After(60 * time.Second):
				t.Fatalf("the backend hangs after %d failures, want an error", injected.Load())
			}
		})
	}
}
