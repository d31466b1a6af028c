package lsm

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/runtime/state/statetest"
)

// suffixes are keys within a key group: its first possible key, one in the middle, and one near its end.
var suffixes = []string{"", "k", "\xff\xff\xff"}

// tb is what testing.T and rapid.T have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(f func())
}

// openRange opens a backend of a range of key groups.
func openRange(t tb, e *Engine, groups keygroup.Range, restore []state.RestoredFile) *Backend {
	t.Helper()
	dir, err := os.MkdirTemp("", "ckptd-lsm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b, err := e.Open(context.Background(), filepath.Join(dir, "b"), groups, restore)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.(*Backend).Close() })
	return b.(*Backend)
}

// holds fails unless the tree has all keys of the range's key groups, and no other keys.
func holds(t tb, when string, b *Backend, groups keygroup.Range) {
	t.Helper()
	got := map[uint16]int{}
	it, err := b.tree.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		got[binary.BigEndian.Uint16(it.Key())]++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	for group, n := range got {
		if !groups.Contains(group) {
			t.Errorf("%s: %d foreign keys of key group %d came back, want those of %v alone", when, n, group, groups)
		}
	}
	for group := int(groups.Start); group <= int(groups.End); group++ {
		if n := got[uint16(group)]; n != len(suffixes) {
			t.Errorf("%s: %d keys of key group %d, want %d", when, n, group, len(suffixes))
		}
		for _, s := range suffixes {
			if v, err := b.Get(uint16(group), []byte(s)); err != nil || string(v) != fmt.Sprint(group, s) {
				t.Errorf("%s: key %q of key group %d is %q, %v; want its own value", when, s, group, v, err)
			}
		}
	}
}

func fill(t tb, b *Backend) {
	t.Helper()
	for group := int(b.groups.Start); group <= int(b.groups.End); group++ {
		for _, s := range suffixes {
			if err := b.Put(uint16(group), []byte(s), []byte(fmt.Sprint(group, s))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func snap(t tb, b *Backend, n uint64) []state.RestoredFile {
	t.Helper()
	s, err := b.Snapshot(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return statetest.Fetch(t, s, "")
}

// narrow restores a snapshot of each range into the next one, and takes a snapshot right after each restore.
func narrow(t tb, e *Engine, ranges []keygroup.Range) {
	t.Helper()
	b := openRange(t, e, ranges[0], nil)
	fill(t, b)
	saved := snap(t, b, 1)
	for i, groups := range ranges[1:] {
		when := fmt.Sprintf("%v of %v", groups, ranges[:i+1])
		b = openRange(t, e, groups, saved)
		holds(t, when+", restored", b, groups)
		saved = snap(t, b, 2) // nothing was written in between
		holds(t, when+", after its snapshot", b, groups)
		again := openRange(t, e, groups, saved)
		holds(t, when+", restored from its own snapshot", again, groups)
	}
}

// Restored keys outside of the backend's range are dropped for good: they are neither in its tree nor in its
// snapshots.
func TestForeignKeysNeverComeBack(t *testing.T) {
	const last = keygroup.MaxParallelism - 1
	for _, ranges := range [][]keygroup.Range{
		{{Start: 0, End: 7}, {Start: 0, End: 7}},
		{{Start: 0, End: 7}, {Start: 1, End: 7}},
		{{Start: 0, End: 7}, {Start: 0, End: 6}},
		{{Start: 0, End: 7}, {Start: 1, End: 6}},
		{{Start: 0, End: 7}, {Start: 3, End: 3}},
		{{Start: 0, End: 7}, {Start: 0, End: 0}},
		{{Start: 0, End: 7}, {Start: 7, End: 7}},
		{{Start: 0, End: 7}, {Start: 0, End: 3}, {Start: 2, End: 3}, {Start: 2, End: 2}},
		// The first byte of the keys changes here.
		{{Start: 254, End: 258}, {Start: 255, End: 256}, {Start: 256, End: 256}},
		{{Start: last - 3, End: last}, {Start: last - 3, End: last - 1}},
		{{Start: last - 3, End: last}, {Start: last, End: last}},
	} {
		t.Run(fmt.Sprint(ranges), func(t *testing.T) { narrow(t, engine(t, nil), ranges) })
	}
	t.Run("any ranges", func(t *testing.T) {
		e := engine(t, nil)
		rapid.Check(t, func(rt *rapid.T) {
			outer := keygroup.Range{Start: rapid.Uint16Range(0, 5).Draw(rt, "start")}
			outer.End = rapid.Uint16Range(outer.Start, 9).Draw(rt, "end")
			ranges := []keygroup.Range{outer}
			for range rapid.IntRange(1, 3).Draw(rt, "times") {
				inner := keygroup.Range{Start: rapid.Uint16Range(outer.Start, outer.End).Draw(rt, "start")}
				inner.End = rapid.Uint16Range(inner.Start, outer.End).Draw(rt, "end")
				ranges, outer = append(ranges, inner), inner
			}
			narrow(rt, e, ranges)
		})
	})
}
