package backend_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a snapshot shares with the one before is what incremental means.
func TestSharedFiles(t *testing.T) {
	for name, c := range map[string]struct {
		o      backend.Options
		shared bool
	}{
		"hashmap": {backend.Options{Type: backend.Hashmap}, false}, "rocksdb": {backend.Options{Type: backend.RocksDB}, true},
		"the default": {backend.Options{}, true}, "rocksdb, whole": {backend.Options{WholeSnapshots: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			open, release, err := backend.Open(c.o)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			b, err := open(t.Context(), t.TempDir(), keygroup.Range{End: 127}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if err := b.Put(1, []byte("k"), []byte("v")); err != nil {
				t.Fatal(err)
			}
			s, err := b.Snapshot(1)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Release()
			shared := false
			for _, f := range s.Files {
				shared = shared || f.Shared
			}
			if shared != c.shared {
				t.Errorf("a file of the snapshot is shared: %v, want %v", shared, c.shared)
			}
		})
	}
	if _, _, err := backend.Open(backend.Options{Type: "forst"}); err == nil || !strings.Contains(err.Error(), "hashmap, rocksdb") {
		t.Errorf("error %v", err)
	}
}
