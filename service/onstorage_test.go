package service_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// contents returns the objects below a prefix with their bytes.
func contents(t testing.TB, s storage.Store, prefix string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := readAll(t, s, info.Key)
		if errors.Is(err, storage.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		all[info.Key] = string(b)
	}
	return all
}

func read(t testing.TB, s storage.Store, key string) string {
	t.Helper()
	b, err := readAll(t, s, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readAll(t testing.TB, s storage.Store, key string) ([]byte, error) {
	r, err := s.Open(t.Context(), key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// unchanged runs f, which must leave the store as it is.
func unchanged(t testing.TB, s storage.Store, f func()) {
	t.Helper()
	before := contents(t, s, "")
	f()
	if after := contents(t, s, ""); !maps.Equal(before, after) {
		t.Fatalf("storage changed: %v, was %v", slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
	}
}

// overwrite replaces an object directly in the store.
func overwrite(t testing.TB, s storage.Store, key string, change func([]byte) []byte) {
	t.Helper()
	b := change([]byte(read(t, s, key)))
	if err := s.Delete(t.Context(), []string{key}); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(t.Context(), key, b); err != nil {
		t.Fatal(err)
	}
}

func flip(b []byte) []byte { b[len(b)/2] ^= 0x10; return b }

// head returns the head of a job's journal.
func head(t testing.TB, root storage.Opened, id string) *journal.Entry {
	t.Helper()
	e, how, err := journalio.ReadHead(t.Context(), root.Store, root.Facts, id)
	if err != nil || how != journal.ReadDone {
		t.Fatal("head:", how, err)
	}
	return e
}

// atRest checks that the job's folder holds exactly the objects that its journal reaches, each of them whole. It
// returns the journal's head.
func atRest(t testing.TB, root storage.Opened, id string) *journal.Entry {
	t.Helper()
	e := head(t, root, id)
	all := contents(t, root.Store, layout.JobPrefix(id))
	want := map[string]bool{}
	for _, c := range e.Retained {
		key := layout.MetadataKey(id, c.ID)
		want[key] = true
		if uint64(len(all[key])) != c.Size {
			t.Errorf("%s has %d bytes, want %d as the journal says", key, len(all[key]), c.Size)
		}
		for _, f := range filesOf(t, all[key]) {
			want[layout.JobPrefix(id)+f.Key] = true
			if got := all[layout.JobPrefix(id)+f.Key]; uint64(len(got)) != f.Length {
				t.Errorf("%s of checkpoint %d has %d bytes, want %d", f.Key, c.ID, len(got), f.Length)
			}
		}
	}
	slot := 0
	for key := range all {
		switch {
		case strings.HasPrefix(key, layout.JournalPrefix(id)):
			slot++
		case ofHistory(e, key):
		case !want[key]:
			t.Errorf("%s is there, but the journal does not reach it; want it deleted", key)
		}
	}
	if slot > 17 {
		t.Errorf("%d slots", slot)
	}
	return e
}

// ofHistory tells whether an object is of the history of a job, which stays until the job is purged.
func ofHistory(e *journal.Entry, key string) bool {
	return e.Status != journal.StatusRemoved && strings.HasPrefix(key, layout.HistoryPrefix(e.About.Job))
}

// filesOf returns the table of files of a _metadata.
func filesOf(t testing.TB, metadata string) []layout.File {
	t.Helper()
	r, err := layout.NewMetadataReader(bytes.NewReader([]byte(metadata)))
	if err != nil {
		t.Fatal(err)
	}
	var files []layout.File
	for {
		record, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := record.(*layout.File); ok {
			files = append(files, *f)
		}
	}
}

// newRoot makes an empty store in memory.
func newRoot() storage.Opened { return mem.Open() }

// faulty returns the root as one process sees it, with mutations that can fail.
func faulty(root storage.Opened, decide func(mem.Mutation) mem.Outcome) (storage.Opened, *mem.Faults) {
	f := mem.NewFaults(root.Store, decide)
	root.Store = f
	return root, f
}

// sibling returns the key of another shared file of the same process for the same checkpoint.
func sibling(t testing.TB, key string, sequence uint64) string {
	t.Helper()
	k := layout.ParseJobKey(key)
	if k.Place != layout.PlaceShared {
		t.Fatalf("%s is not shared", key)
	}
	k.File.Sequence = sequence
	return k.String()
}
