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
		t.Error("one key, two numbers")
	}
	if got, ok := n.Describe(a); !ok || !reflect.DeepEqual(got, d) {
		t.Errorf("%+v", got)
	}
	for _, test := range []struct {
		instance, name string
		size           uint64
		restored       string
		want           bool
	}{
		{"x", "000123.sst", 10, "", true},
		{"y", "000123.sst", 10, "", false}, // after a restore a backend counts its numbers on: the bare name is no identity
		{"x", "000124.sst", 10, "", false},
		{"x", "000123.sst", 11, "", false},
		{"y", "000001.sst", 10, "shared/a", true},
		{"y", "000001.sst", 11, "shared/a", false},
		{"y", "000001.sst", 10, "shared/b", false},
	} {
		if got, ok := n.Lookup(test.instance, test.name, test.size, test.restored); ok != test.want || ok && got != a {
			t.Errorf("%+v: %v %v", test, got, ok)
		}
	}
	orphan := intern(t, n, Description{Key: "shared/o"})
	if orphan == a {
		t.Error("two keys, one number")
	}
	if f, ok := n.ByKey("shared/o"); !ok || f != orphan {
		t.Error("by key")
	}
	intern(t, n, Description{Key: "shared/o", Instance: "x", Name: "000125.sst", Size: 3})
	if f, ok := n.Lookup("x", "000125.sst", 3, ""); !ok || f != orphan {
		t.Error("described later, and not found")
	}
	n.Forget(SetOf(a, 99))
	if _, ok := n.Lookup("x", "000123.sst", 10, "shared/a"); ok || n.Len() != 1 {
		t.Error("forgotten, and found")
	}
	if again := intern(t, n, d); again == a {
		t.Error("a number was given out twice")
	}
	n.next = 1<<32 - 2
	if _, err := n.Intern(Description{Key: "shared/z"}); err != ErrNamesFull {
		t.Errorf("%v", err)
	}
}

// TestNewerUploadOfTheSameFile: the same file sent twice under two names; forgetting one must not lose the other.
func TestNewerUploadOfTheSameFile(t *testing.T) {
	n := NewNames()
	first := intern(t, n, Description{Key: "shared/1", Instance: "x", Name: "f", Size: 1})
	second := intern(t, n, Description{Key: "shared/2", Instance: "x", Name: "f", Size: 1})
	n.Forget(SetOf(first))
	if f, ok := n.Lookup("x", "f", 1, ""); !ok || f != second {
		t.Error("the newer one is lost")
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
	known := Range(files)
	index := Index{Known: known, Reachable: known.Or(SetOf(1)), AtAttach: known}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / files
	t.Logf("%.0f bytes a file", each)
	if each > 256 {
		t.Errorf("%.0f bytes a file, budget 256", each)
	}
	runtime.KeepAlive(n)
	runtime.KeepAlive(index)
}

func TestIndex(t *testing.T) {
	x := Index{Known: Range(6), AtAttach: SetOf(0, 1, 2), Reachable: SetOf(0, 3), Condemned: SetOf(5)}
	// 1 and 2 are old and fell; 4 was acknowledged in this epoch; 5 is condemned; 9 is unknown.
	if got := x.Promisable(SetOf(0, 1, 2, 3, 4, 5, 9)); got != SetOf(0, 3, 4) {
		t.Errorf("promisable %v", got)
	}
	if got := x.Idle(SetOf(1)); got != SetOf(2, 4) {
		t.Errorf("idle %v", got)
	}
	x.Gone(SetOf(5))
	if x.Known.Has(5) || !x.Condemned.IsEmpty() {
		t.Errorf("%+v", x)
	}
}
