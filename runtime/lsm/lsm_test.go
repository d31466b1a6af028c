package lsm

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/runtime/state/statetest"
)

func TestMain(m *testing.M) {
	flag.Set("rapid.checks", "25") // each opens many trees; the command line can ask for more
	goleak.VerifyTestMain(m)
}

var everything = keygroup.Range{Start: 0, End: 127}

func engine(t testing.TB, o *Options) *Engine {
	t.Helper()
	e := New(o)
	t.Cleanup(e.Close)
	return e
}

func begin(t testing.TB, e *Engine, restore []state.RestoredFile) *Backend {
	t.Helper()
	b, err := e.Open(context.Background(), filepath.Join(t.TempDir(), "b"), everything, restore)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b.(*Backend)
}

func put(t testing.TB, b state.Backend, key, value string) {
	t.Helper()
	if err := b.Put(7, []byte(key), []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t testing.TB, b state.Backend, n uint64) *state.Snapshot {
	t.Helper()
	s, err := b.Snapshot(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return s
}

// tables returns the tables of a snapshot by name.
func tables(s *state.Snapshot) map[string]state.File {
	m := map[string]state.File{}
	for _, f := range s.Files {
		if f.Shared {
			m[f.Name] = f
		}
	}
	return m
}

func TestBackend(t *testing.T) {
	t.Run("defaults", func(t *testing.T) { statetest.Backends(t, engine(t, nil).Open) })
	// The cache has a few entries and the memtables are small, so that everything passes through the tree and its
	// compactions.
	t.Run("tiny", func(t *testing.T) {
		statetest.Backends(t, engine(t, &Options{WriteBack: 2 << 10, Memtable: 64 << 10, CompactAfter: 2}).Open)
	})
}

func TestOnlyNewTablesTravel(t *testing.T) {
	b := begin(t, engine(t, nil), nil)
	for i := range 10000 {
		put(t, b, fmt.Sprint(i), "some value")
	}
	one := snapshot(t, b, 1)
	unchanged := snapshot(t, b, 2)
	put(t, b, "5", "changed")
	two := snapshot(t, b, 3)
	if len(tables(one)) == 0 || len(tables(unchanged)) != len(tables(one)) {
		t.Fatalf("without a change, tables %v became %v; want the same", tables(one), tables(unchanged))
	}
	var fresh, freshBytes int64
	for name, f := range tables(two) {
		if _, ok := tables(one)[name]; !ok {
			fresh, freshBytes = fresh+1, freshBytes+f.Size
		}
	}
	if fresh != 1 || freshBytes > 2000 || len(tables(two)) != len(tables(one))+1 {
		t.Errorf("one key changed: %d new tables with %d bytes, want 1 small table", fresh, freshBytes)
	}
}

func TestRestoredTablesNeedNotTravel(t *testing.T) {
	e := engine(t, nil)
	b := begin(t, e, nil)
	for i := range 10000 {
		put(t, b, fmt.Sprint(i), "some value")
	}
	s := snapshot(t, b, 1)
	r := begin(t, e, statetest.Fetch(t, s, "shared/"))
	put(t, r, "5", "changed")
	var known, fresh int
	for name, f := range tables(snapshot(t, r, 2)) {
		switch f.RestoredKey {
		case "shared/" + name:
			known++
		case "":
			fresh++
			if _, ok := tables(s)[name]; ok {
				t.Errorf("the new table %s has the name of an old one, want a new name", name)
			}
		default:
			t.Errorf("%s has the key %s, want its own", name, f.RestoredKey)
		}
	}
	if known != len(tables(s)) || fresh != 1 {
		t.Errorf("%d of %d tables known, %d new; want all but one known", known, len(tables(s)), fresh)
	}
}

func TestSnapshotIsSmallBesideItsTables(t *testing.T) {
	b := begin(t, engine(t, nil), nil)
	for n := range uint64(100) { // many flushes and compactions: the manifest must not grow with them
		put(t, b, fmt.Sprint(n), "v")
		s := snapshot(t, b, n)
		for _, f := range s.Files {
			if !f.Shared && (f.Name != BundleName || f.Size > 20<<10) {
				t.Fatalf("snapshot %d: exclusive file %s with %d bytes, want only a small bundle", n, f.Name, f.Size)
			}
		}
		if len(s.Files) > 40 {
			t.Fatalf("snapshot %d has %d files, want at most 40", n, len(s.Files))
		}
		s.Release()
	}
}

func TestFullDiskFailsTheBackend(t *testing.T) {
	b := begin(t, engine(t, nil), nil)
	put(t, b, "k", "v")
	// A tree without its folder cannot make a table. This is the closest to a full disk that needs no mount.
	if err := os.RemoveAll(filepath.Join(b.dir, treeDir)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := b.Snapshot(1); done <- err }()
	select {
	case err := <-done:
		if err == nil {
			t.Fatal("snapshot without a folder: no error, want one")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the snapshot hangs, want an error")
	}
	if _, err := b.Get(7, []byte("k")); err == nil {
		t.Error("get after the failure: no error, want one")
	}
}

func TestDirOfAnotherInstanceIsRefused(t *testing.T) {
	e := engine(t, nil)
	b := begin(t, e, nil)
	if _, err := e.Open(context.Background(), b.dir, everything, nil); err == nil {
		t.Fatal("open of a used folder: no error, want one")
	}
	put(t, b, "k", "v") // unharmed
	snapshot(t, b, 1)
}

func FuzzDecodeBundle(f *testing.F) {
	good := &bundle{groups: everything, treeFiles: []treeFile{{"MANIFEST-000001", []byte("m")}}, tables: []table{{"000002.sst", 9}}}
	f.Add(good.encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		if b, err := decodeBundle(p); err == nil && string(b.encode()) != string(p) {
			t.Errorf("%x decodes to %+v, which encodes to %x, want the same", p, b, b.encode())
		}
	})
}
