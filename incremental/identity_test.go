package incremental

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// A backend's file is found only by instance, name and size together, until it is forgotten. The names of other files
// do not matter.
func TestFilesAreToldApartByInstanceNameAndSize(t *testing.T) {
	type local struct {
		instance, name string
		size           uint64
	}
	var all []local
	for _, instance := range []string{"a", "b", "ab"} {
		for _, name := range []string{"000001.sst", "000002.sst", "a"} {
			for _, size := range []uint64{0, 10, 11} {
				all = append(all, local{instance, name, size})
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n, numbers := NewNames(), map[local]File{}
		known := rapid.Permutation(all).Draw(t, "known")[:rapid.IntRange(0, len(all)).Draw(t, "files")]
		for i, l := range known {
			number, err := n.Intern(Description{Key: fmt.Sprint("shared/", i), Instance: l.instance, Name: l.name, Size: l.size})
			if err != nil {
				t.Fatal(err)
			}
			numbers[l] = number
		}
		var gone Builder[File]
		for _, l := range known {
			if rapid.IntRange(0, 3).Draw(t, "forget") == 0 {
				gone.Add(numbers[l])
				delete(numbers, l)
			}
		}
		n.Forget(gone.Set())
		for _, l := range all {
			want, ok := numbers[l]
			if got, found := n.Lookup(l.instance, l.name, l.size, ""); found != ok || ok && got != want {
				t.Fatalf("%+v: file %d, %v; want %d, %v", l, got, found, want, ok)
			}
		}
		if n.Len() != len(numbers) {
			t.Fatalf("%d files, want %d", n.Len(), len(numbers))
		}
	})
}

func TestParallelInstancesKeepTheirFiles(t *testing.T) {
	n := NewNames()
	var files []File
	for i := range 8 { // parallel subtasks number their files alike
		files = append(files, intern(t, n, Description{Key: fmt.Sprint("shared/", i), Instance: fmt.Sprint("instance-", i), Name: "000001.sst", Size: 10}))
	}
	for i, want := range files {
		if got, ok := n.Lookup(fmt.Sprint("instance-", i), "000001.sst", 10, ""); !ok || got != want {
			t.Errorf("instance %d: file %d, %v; want %d", i, got, ok, want)
		}
	}
}

func TestDescriptions(t *testing.T) {
	t.Run("the first description of a file stays", func(t *testing.T) {
		n := NewNames()
		f := intern(t, n, Description{Key: "shared/1", Instance: "a", Name: "f", Size: 1, CRC: 7})
		intern(t, n, Description{Key: "shared/1", Instance: "b", Name: "g", Size: 2, CRC: 8})
		if d, ok := n.Describe(f); !ok || d.Instance != "a" || d.Name != "f" || d.Size != 1 || d.CRC != 7 {
			t.Errorf("%+v, want the first", d)
		}
		if _, ok := n.Lookup("b", "g", 2, ""); ok {
			t.Error("Lookup finds the file by the second description, want it unknown")
		}
	})
	t.Run("a file without an instance has no name to be found by", func(t *testing.T) {
		n := NewNames()
		f := intern(t, n, Description{Key: "shared/1", Name: "f", Size: 1})
		if _, ok := n.Lookup("", "f", 1, ""); ok {
			t.Error("Lookup finds the file by its name alone, want it unknown")
		}
		if got, ok := n.Lookup("", "f", 1, "shared/1"); !ok || got != f {
			t.Errorf("by its key: %d, %v; want %d", got, ok, f)
		}
	})
	t.Run("a file without a name is described by its size", func(t *testing.T) {
		n := NewNames()
		f := intern(t, n, Description{Key: "shared/1"})
		intern(t, n, Description{Key: "shared/1", Size: 5, CRC: 6, Blocks: []uint32{7}})
		if d, _ := n.Describe(f); d.Size != 5 || d.CRC != 6 || len(d.Blocks) != 1 {
			t.Errorf("%+v, want size 5 and its sums", d)
		}
	})
	t.Run("what is not known is not described", func(t *testing.T) {
		n := NewNames()
		f := intern(t, n, Description{Key: "shared/1", Instance: "a", Name: "f", Size: 1})
		n.Forget(FilesOf(f))
		if _, ok := n.Describe(f); ok {
			t.Error("Describe knows a forgotten file, want it unknown")
		}
		if _, ok := n.ByKey("shared/1"); ok {
			t.Error("ByKey finds a forgotten file, want it unknown")
		}
		if _, ok := n.Describe(17); ok {
			t.Error("Describe knows a number that was never given out, want it unknown")
		}
	})
}

// Each file is in any of the index's four sets, and promised or not. The sets alone decide what may be done with the
// file.
func TestIndexFileByFile(t *testing.T) {
	var x Index
	var promised, all Builder[File]
	var sets [4]Builder[File] // known, at attach, reachable, condemned
	for f := range File(1 << 5) {
		all.Add(f)
		for bit := range sets {
			if f>>bit&1 == 1 {
				sets[bit].Add(f)
			}
		}
		if f>>4&1 == 1 {
			promised.Add(f)
		}
	}
	x.Known, x.AtAttach, x.Reachable, x.Condemned = sets[0].Set(), sets[1].Set(), sets[2].Set(), sets[3].Set()
	every, kept := all.Set(), promised.Set()
	after := x
	after.Gone(kept)
	promisable, idle := x.Promisable(every), x.Idle(kept)
	for f := range File(1 << 5) {
		known, attach, reachable, condemned, isKept := f&1 > 0, f&2 > 0, f&4 > 0, f&8 > 0, f&16 > 0
		if want := reachable || known && !attach && !condemned; promisable.Has(f) != want {
			t.Errorf("file %05b may be promised: %v, want %v", f, !want, want)
		}
		if want := known && !reachable && !isKept && !condemned; idle.Has(f) != want {
			t.Errorf("file %05b is idle: %v, want %v", f, !want, want)
		}
		if want := known && !isKept; after.Known.Has(f) != want {
			t.Errorf("file %05b is known after it was deleted: %v, want %v", f, !want, want)
		}
		if want := condemned && !isKept; after.Condemned.Has(f) != want {
			t.Errorf("file %05b is condemned after it was deleted: %v, want %v", f, !want, want)
		}
	}
	if got := x.Promisable(FilesOf(4, 99)); got != FilesOf(4) {
		t.Errorf("of files 4 and 99: %v may be promised, want 4 alone", got)
	}
	if after.Reachable != x.Reachable || after.AtAttach != x.AtAttach {
		t.Error("Gone changed Reachable or AtAttach, want both unchanged")
	}
}
