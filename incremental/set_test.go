package incremental

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestSetIsASet compares a Set with a map, and checks that equal sets are equal values.
func TestSetIsASet(t *testing.T) {
	files := rapid.SliceOf(rapid.OneOf(rapid.Uint32Range(0, 70), rapid.Uint32Range(0, 1000), rapid.Uint32()))
	rapid.Check(t, func(t *rapid.T) {
		a, b := files.Draw(t, "a"), files.Draw(t, "b")
		compare(t, a, b)
	})
}

// TestSetsThatShareSome: every pair of sets of a few numbers, in the word and in the string, with all, some or none
// in common.
func TestSetsThatShareSome(t *testing.T) {
	numbers := []uint32{1, 63, 64, 65, 200, 1 << 31}
	var sets [][]uint32
	for chosen := range 1 << len(numbers) {
		var set []uint32
		for i, f := range numbers {
			if chosen&(1<<i) != 0 {
				set = append(set, f)
			}
		}
		sets = append(sets, set)
	}
	for _, a := range sets {
		for _, b := range sets {
			compare(t, a, b)
		}
	}
}

// compare holds two sets and what is made of them to maps of the same numbers.
func compare(t rapid.TB, a, b []uint32) {
	t.Helper()
	s, u := of(a), of(b)
	x, y := make(map[uint32]bool), make(map[uint32]bool)
	for _, f := range a {
		x[f] = true
	}
	for _, f := range b {
		y[f] = true
	}
	or, and, minus := maps.Clone(x), maps.Clone(x), maps.Clone(x)
	maps.Copy(or, y)
	maps.DeleteFunc(and, func(f uint32, _ bool) bool { return !y[f] })
	maps.DeleteFunc(minus, func(f uint32, _ bool) bool { return y[f] })
	same(t, fmt.Sprint(a), s, x)
	same(t, fmt.Sprint(a, " or ", b), s.Or(u), or)
	same(t, fmt.Sprint(a, " and ", b), s.And(u), and)
	same(t, fmt.Sprint(a, " minus ", b), s.Minus(u), minus)
	if s.In(u) != (len(minus) == 0) || !s.And(u).In(s) || s.Or(u) != u.Or(s) {
		t.Fatalf("%v in %v: %v, want %v, and the laws of sets", a, b, s.In(u), len(minus) == 0)
	}
	if (string(s.AppendKey(nil)) == string(u.AppendKey(nil))) != (s == u) {
		t.Fatalf("%v and %v: want equal keys for equal sets, and only for those", a, b)
	}
}

func of(files []uint32) Files {
	var b Builder[File]
	for _, f := range files {
		b.Add(File(f))
	}
	return b.Set()
}

func same(t rapid.TB, what string, s Files, want map[uint32]bool) {
	t.Helper()
	got := []uint32{}
	for f := range s.All() {
		got = append(got, uint32(f))
	}
	keys := slices.Sorted(maps.Keys(want))
	if !slices.Equal(got, keys) || s.Len() != len(want) || s.IsEmpty() != (len(want) == 0) {
		t.Fatalf("%s: %v, want %v", what, got, keys)
	}
	if s != of(keys) {
		t.Fatalf("%s: equal sets have different values, want the same", what)
	}
	for _, f := range append(keys, 0, 63, 64, 1<<31) {
		if s.Has(File(f)) != want[f] {
			t.Fatalf("%s: Has(%d) is %v, want %v", what, f, s.Has(File(f)), want[f])
		}
	}
}

func TestRange(t *testing.T) {
	for _, n := range []uint32{0, 1, 63, 64, 65, 127, 128, 129, 1000} {
		files := make([]uint32, n)
		for i := range files {
			files[i] = uint32(i)
		}
		if Range[File](n) != of(files) {
			t.Errorf("Range(%d) differs from SetOf(0, …), want the same", n)
		}
	}
}

func TestAllStops(t *testing.T) {
	for _, s := range []Files{FilesOf(1, 2, 3), FilesOf(100, 101)} {
		n := 0
		for range s.All() {
			n++
			break
		}
		if n != 1 {
			t.Errorf("All yielded %d numbers before it was stopped, want 1", n)
		}
	}
}

func BenchmarkOrOfAMillion(b *testing.B) {
	all, few := Range[File](1_000_000), FilesOf(5, 999_999)
	for b.Loop() {
		all.Or(few)
	}
}

// First takes the lowest numbers, wherever they lie.
func TestFirst(t *testing.T) {
	s := FilesOf(3, 63, 64, 200, 100_000)
	for n, want := range []Files{
		{}, FilesOf(3), FilesOf(3, 63), FilesOf(3, 63, 64), FilesOf(3, 63, 64, 200), s, s,
	} {
		if got := s.First(n); got != want {
			t.Errorf("the first %d are %v, want %v", n, got, want)
		}
	}
}
