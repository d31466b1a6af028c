package incremental

import (
	"fmt"
	"reflect"
	"runtime"
	"testing"
)

func intern(t testing.TB, n *Names, d Description) File {
	t.Helper()
	f, err := n.Intern(d)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNames(t *testing.T) {
	n := NewNames()
	d := Description{Key: "shared/a", Instance: "x", Name: "000123.sst", Size: 10, CRC: 7, Blocks: []uint32{1, 2}}
	d.Compression = &Compression{Codec: "zstd", Stored: []uint32{10}, Plain: []uint32{30}}
	a := intern(t, n, d)
	if intern(t, n, d) != a {
		t.Error("one key got two numbers, want one")
	}
	if got, ok := n.Describe(a); !ok || !reflect.DeepEqual(got, d) {
		t.Errorf("Describe = %+v, want %+v", got, d)
	}
	for _, test := range []struct {
		instance, name string
		size           uint64
		restored       string
		want           bool
	}{
		{"x", "000123.sst", 10, "", true},
		// After a restore a backend numbers its files on, so the name alone does not identify a file.
		{"y", "000123.sst", 10, "", false},
		{"x", "000124.sst", 10, "", false},
		{"x", "000123.sst", 11, "", false},
		{"y", "000001.sst", 10, "shared/a", true},
		{"y", "000001.sst", 11, "shared/a", false},
		{"y", "000001.sst", 10, "shared/b", false},
	} {
		if got, ok := n.Lookup(test.instance, test.name, test.size, test.restored); ok != test.want || ok && got != a {
			t.Errorf("Lookup of %+v = %v, %v; want found: %v", test, got, ok, test.want)
		}
	}
	orphan := intern(t, n, Description{Key: "shared/o"})
	if orphan == a {
		t.Error("two keys got one number, want two")
	}
	if f, ok := n.ByKey("shared/o"); !ok || f != orphan {
		t.Error("ByKey does not find the file, want it")
	}
	intern(t, n, Description{Key: "shared/o", Instance: "x", Name: "000125.sst", Size: 3})
	if f, ok := n.Lookup("x", "000125.sst", 3, ""); !ok || f != orphan {
		t.Error("Lookup does not find a file that was described later, want it")
	}
	n.Forget(FilesOf(a, 99))
	if _, ok := n.Lookup("x", "000123.sst", 10, "shared/a"); ok || n.Len() != 1 {
		t.Error("Lookup finds a forgotten file, or Len is not 1; want it unknown")
	}
	if again := intern(t, n, d); again == a {
		t.Error("a number was given out twice, want a new one")
	}
	n.next = 1<<32 - 2
	if _, err := n.Intern(Description{Key: "shared/z"}); err != ErrNamesFull {
		t.Errorf("Intern without free numbers: %v, want ErrNamesFull", err)
	}
}

// TestNewerUploadOfTheSameFile: the same file was sent twice under two names. Forgetting one must not lose the other.
func TestNewerUploadOfTheSameFile(t *testing.T) {
	t.Run("SR-12", func(t *testing.T) {
		n := NewNames()
		first := intern(t, n, Description{Key: "shared/1", Instance: "x", Name: "1.sst", Size: 1})
		second := intern(t, n, Description{Key: "shared/2", Instance: "x", Name: "1.sst", Size: 1})
		a, aOK := n.Describe(first)
		b, bOK := n.Describe(second)
		if !aOK || !bOK || a.Key != "shared/1" || b.Key != "shared/2" {
			t.Errorf("the files are %+v and %+v, want both kept apart", a, b)
		}
		n.Forget(FilesOf(first))
		if f, ok := n.Lookup("x", "1.sst", 1, ""); !ok || f != second {
			t.Error("Lookup does not find the newer file, want it")
		}
	})
}

// TestIntern: what is known of a file is its first full description.
func TestIntern(t *testing.T) {
	full := Description{Key: "shared/a", Instance: "x", Name: "f", Size: 10, CRC: 7}
	for _, test := range []struct {
		name        string
		first, then Description
		want        Description
	}{
		{"a second description does not replace the first", full,
			Description{Key: "shared/a", Instance: "y", Name: "g", Size: 11, CRC: 8}, full},
		{"a bare key takes nothing away", full, Description{Key: "shared/a"}, full},
		{"an empty file is described later", Description{Key: "shared/a"},
			Description{Key: "shared/a", Instance: "x", Name: "f"}, Description{Key: "shared/a", Instance: "x", Name: "f"}},
		{"a file without a name is described later", Description{Key: "shared/a"},
			Description{Key: "shared/a", Size: 10, CRC: 7}, Description{Key: "shared/a", Size: 10, CRC: 7}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := NewNames()
			number := intern(t, n, test.first)
			intern(t, n, test.then)
			if got, _ := n.Describe(number); !reflect.DeepEqual(got, test.want) {
				t.Errorf("the file is %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestLookupComparesWhatTheHashFinds: two files with one hash are never taken for each other.
func TestLookupComparesWhatTheHashFinds(t *testing.T) {
	n := NewNames()
	number := intern(t, n, Description{Key: "shared/a", Instance: "x", Name: "f", Size: 10})
	for _, other := range []struct {
		instance, name string
		size           uint64
	}{{"y", "f", 10}, {"x", "g", 10}, {"x", "f", 11}} {
		n.locals[n.local(other.instance, other.name, other.size)] = number
		if f, ok := n.Lookup(other.instance, other.name, other.size, ""); ok {
			t.Errorf("Lookup takes %+v for file %d, want it unknown: name, size or instance differ", other, f)
		}
	}
}

// TestForgetPassesOverUnknownFiles: files that are not known do not keep the others.
func TestForgetPassesOverUnknownFiles(t *testing.T) {
	n := NewNames()
	first := intern(t, n, Description{Key: "shared/1"})
	second := intern(t, n, Description{Key: "shared/2"})
	n.Forget(FilesOf(first))
	n.Forget(FilesOf(first, second))
	if n.Len() != 0 {
		t.Errorf("%d files are known, want none", n.Len())
	}
	if _, ok := n.ByKey("shared/2"); ok {
		t.Error("ByKey finds a forgotten file, want it unknown")
	}
}

// TestMemoryOfAKnownFile: the budget is 256 bytes.
func TestMemoryOfAKnownFile(t *testing.T) {
	const files = 100_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := NewNames()
	for i := range files {
		intern(t, n, Description{Key: fmt.Sprintf("shared/3f-1-1-abcdefghijklmnopqrstuvwxyz-%d", i), Instance: "0123456789abcdef",
			Name: fmt.Sprintf("%06d.sst", i), Size: 1 << 20, CRC: 1})
	}
	known := Range[File](files)
	index := Index{Known: known, Reachable: known.Or(FilesOf(1)), AtAttach: known}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / files
	t.Logf("%.0f bytes a file", each)
	if each > 256 {
		t.Errorf("%.0f bytes a file, want at most 256", each)
	}
	runtime.KeepAlive(n)
	runtime.KeepAlive(index)
}

func TestIndex(t *testing.T) {
	x := Index{Known: Range[File](6), AtAttach: FilesOf(0, 1, 2), Reachable: FilesOf(0, 3), Condemned: FilesOf(5)}
	// 1 and 2 are old and no longer reachable; 4 was acknowledged in this epoch; 5 is condemned; 9 is unknown.
	if got := x.Promisable(FilesOf(0, 1, 2, 3, 4, 5, 9)); got != FilesOf(0, 3, 4) {
		t.Errorf("Promisable = %v, want 0, 3 and 4", got)
	}
	if got := x.Idle(FilesOf(1)); got != FilesOf(2, 4) {
		t.Errorf("Idle = %v, want 2 and 4", got)
	}
	x.Gone(FilesOf(5))
	if x.Known.Has(5) || !x.Condemned.IsEmpty() {
		t.Errorf("after Gone: %+v, want file 5 in no set", x)
	}
}

// TestFilesOfOtherJobs: a file in another job's folder is found by the key that it was restored from, and is never taken for an own
// file with that key.
func TestFilesOfOtherJobs(t *testing.T) {
	n := NewNames()
	foreign, err := n.Intern(Description{Key: "shared/x", Job: "a", Instance: "i", Name: "7", Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := n.ByKey("shared/x"); ok {
		t.Error("the foreign file is found as an own one")
	}
	if got, ok := n.Lookup("", "", 3, "shared/x"); !ok || got != foreign {
		t.Errorf("restored from shared/x: %d, %v; want %d", got, ok, foreign)
	}
	own, err := n.Intern(Description{Key: "shared/x"})
	if d, _ := n.Describe(foreign); err != nil || own == foreign || d.Job != "a" || d.Key != "shared/x" {
		t.Errorf("own %d, %v; foreign %d is %+v: want two files", own, err, foreign, d)
	}
	if other, _ := n.Intern(Description{Key: "shared/x", Job: "b"}); other == foreign {
		t.Error("files of two jobs have one number")
	}
}

// TestNamesTwice: a full checkpoint sends a file again. The newest one has the backend's name, and when it is gone, the one before.
func TestNamesTwice(t *testing.T) {
	for name, c := range map[string]struct {
		forget []int
		want   int
	}{
		"the newest": {nil, 2}, "the newest is gone": {[]int{2}, 1}, "the oldest is gone": {[]int{0}, 2}, "the middle and the newest are gone": {[]int{1, 2}, 0},
		"the newest two, one by one": {[]int{2, 1}, 0}, "all but the middle": {[]int{0, 2}, 1}, "all": {[]int{2, 0, 1}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			n := NewNames()
			var all []File
			for i := range 3 {
				all = append(all, intern(t, n, Description{Key: fmt.Sprintf("shared/%d", i), Instance: "x", Name: "1.sst", Size: 10}))
			}
			for _, i := range c.forget {
				n.Forget(FilesOf(all[i]))
			}
			switch got, ok := n.Lookup("x", "1.sst", 10, ""); {
			case ok != (c.want >= 0), ok && got != all[c.want]:
				t.Errorf("found %v: %v, want the one numbered %d from the oldest", got, ok, c.want)
			}
			if len(c.forget) == 3 && len(n.older)+len(n.locals) > 0 {
				t.Errorf("%d names are left, want none", len(n.older)+len(n.locals))
			}
		})
	}
}
