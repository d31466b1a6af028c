package keygroup_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ckptd/ckptd/layout/keygroup"
)

// The values were computed from the documented formula and confirmed by running Flink's MathUtils.murmurHash.
func TestMurmurGoldenValues(t *testing.T) {
	for _, c := range []struct {
		code, murmur int32
		group        uint16
	}{
		{0, 593689054, 94},
		{1, 68075478, 86},
		{2, 1085422463, 127},
		{42, 1134849565, 29},
		{-1, 1982413648, 80},
		{math.MaxInt32, 1653689534, 62},
		{math.MinInt32, 1718298732, 108},
	} {
		if got := keygroup.Murmur(c.code); got != c.murmur {
			t.Errorf("Murmur(%d) = %d, want %d", c.code, got, c.murmur)
		}
		if got := keygroup.Assign(c.code, 128); got != c.group {
			t.Errorf("Assign(%d, 128) = %d, want %d", c.code, got, c.group)
		}
	}
}

// The values were printed by Java 17.
func TestHashIsJavasHashCode(t *testing.T) {
	for _, c := range []struct {
		key  string
		hash int32
	}{
		{"", 0},
		{"a", 97},
		{"flink", 97520992},
		{"user-1", -836031825},
		{"ä", 228},
		{"zürich", -565983330},
		{"€", 8364},
		{"😀", 1772899},
		{"x😀ü", 58535041},
		{"\xff", 30},           // not text: Arrays.hashCode
		{"a\xff", 3967},        // also where the text begins well
		{"\xed\xa0\x80", 8428}, // a lone surrogate is not UTF-8
	} {
		if got := keygroup.Hash([]byte(c.key)); got != c.hash {
			t.Errorf("Hash(%q) = %d, want %d", c.key, got, c.hash)
		}
	}
	if got := keygroup.Of([]byte("flink"), 128); got != 98 {
		t.Errorf("Of(flink) = %d, want 98", got)
	}
	if got := keygroup.Of([]byte("user-1"), 128); got != 121 {
		t.Errorf("Of(user-1) = %d, want 121", got)
	}
}

func TestDefaultMaxParallelism(t *testing.T) {
	for p, want := range map[int]int{1: 128, 85: 128, 86: 256, 170: 256, 171: 256, 172: 512, 1000: 2048, 21845: 32768, 32768: 32768} {
		if got := keygroup.DefaultMaxParallelism(p); got != want {
			t.Errorf("DefaultMaxParallelism(%d) = %d, want %d", p, got, want)
		}
	}
}

func TestRangesOfSubtasks(t *testing.T) {
	for _, c := range []struct {
		maxParallelism int
		ranges         []keygroup.Range
	}{
		{128, []keygroup.Range{{0, 42}, {43, 85}, {86, 127}}},
		{13, []keygroup.Range{{0, 6}, {7, 12}}},
		{10, []keygroup.Range{{0, 2}, {3, 4}, {5, 7}, {8, 9}}},
		{1, []keygroup.Range{{0, 0}}},
		{keygroup.MaxParallelism, []keygroup.Range{{0, 32767}}},
	} {
		var got []keygroup.Range
		for i := range c.ranges {
			got = append(got, keygroup.RangeOf(c.maxParallelism, len(c.ranges), i))
		}
		if d := cmp.Diff(c.ranges, got); d != "" {
			t.Errorf("%d groups over %d subtasks (-want +got):\n%s", c.maxParallelism, len(c.ranges), d)
		}
	}
}

// Every group lies in the range of the subtask that Subtask names, and in no other.
func TestRangesAgreeWithSubtask(t *testing.T) {
	t.Run("RR-1", func(t *testing.T) {
		for _, m := range []int{1, 2, 10, 13, 128, 1000, keygroup.MaxParallelism} {
			for _, p := range []int{1, 2, 3, 7, 64, 127, 128, 999} {
				if p > m {
					continue
				}
				next := 0
				for i := range p {
					r := keygroup.RangeOf(m, p, i)
					if int(r.Start) != next {
						t.Fatalf("%d/%d: range %d begins at %d, want %d", m, p, i, r.Start, next)
					}
					next = int(r.End) + 1
					for _, g := range []uint16{r.Start, r.End} {
						if got := keygroup.Subtask(g, m, p); got != i {
							t.Fatalf("%d/%d: Subtask of group %d is %d, want %d, whose range holds it", m, p, g, got, i)
						}
					}
				}
				if next != m {
					t.Fatalf("%d/%d: the ranges end at %d, want %d", m, p, next, m)
				}
			}
		}
	})
}

func TestRangeArithmetic(t *testing.T) {
	t.Run("RR-17", func(t *testing.T) {
		a := keygroup.Range{Start: 10, End: 20}
		for _, c := range []struct {
			other, want keygroup.Range
			ok          bool
		}{
			{keygroup.Range{Start: 0, End: 9}, keygroup.Range{}, false},
			{keygroup.Range{Start: 0, End: 10}, keygroup.Range{Start: 10, End: 10}, true},
			{keygroup.Range{Start: 12, End: 14}, keygroup.Range{Start: 12, End: 14}, true},
			{keygroup.Range{Start: 15, End: 30}, keygroup.Range{Start: 15, End: 20}, true},
			{keygroup.Range{Start: 21, End: 30}, keygroup.Range{}, false},
		} {
			if got, ok := a.Intersect(c.other); got != c.want || ok != c.ok {
				t.Errorf("%v.Intersect(%v) = %v, %v; want %v, %v", a, c.other, got, ok, c.want, c.ok)
			}
			if got, ok := c.other.Intersect(a); got != c.want || ok != c.ok {
				t.Errorf("%v.Intersect(%v) = %v, %v; want %v, %v", c.other, a, got, ok, c.want, c.ok)
			}
		}
		if a.Len() != 11 || !a.Contains(10) || !a.Contains(20) || a.Contains(9) || a.Contains(21) || a.String() != "10-20" {
			t.Errorf("Len, Contains or String of %v is wrong, want 11 groups from 10 to 20", a)
		}
	})
}

func BenchmarkOf(b *testing.B) {
	key := []byte("user-123456")
	for b.Loop() {
		keygroup.Of(key, 128)
	}
}
