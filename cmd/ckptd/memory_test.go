package main

import "testing"

// Garbage is bounded while the live heap is small. There is always room for garbage of a third of the live heap,
// because a collector without room would run all the time.
func TestMemoryFor(t *testing.T) {
	last := int64(0)
	for live := uint64(0); live < 16<<30; live += 10 << 20 {
		limit := memoryFor(live)
		switch {
		case live < 256<<20 && limit != smallMemory:
			t.Errorf("%d MiB live: %d MiB", live>>20, limit>>20)
		case uint64(limit) < live+live/3 || limit < last:
			t.Errorf("%d MiB live: %d MiB are too few", live>>20, limit>>20)
		}
		last = limit
	}
}

// Memory is given back when the daemon has been idle for a while and holds much that it does not use, and not before.
func TestIdleGivesMemoryBack(t *testing.T) {
	const much = spareMemory + 1
	busy := func(h heap) heap { h.allocs += idleAllocs + 1; return h }
	for _, c := range []struct {
		name string
		now  heap
		want bool
	}{
		{"garbage", heap{live: 1 << 30, objects: 1<<30 + much}, true},
		{"unused memory", heap{live: 1 << 30, objects: 1 << 30, free: much}, true},
		{"little of both", heap{live: 1 << 30, objects: 1<<30 + 1, free: spareMemory - 1}, false},
		{"all is alive", heap{live: 1 << 30, objects: 1 << 30}, false},
		{"a collection has just ended", heap{live: 1 << 30, objects: 1<<30 - 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var i idleness
			now := busy(c.now)
			for look := range idleLooks {
				if i.gives(now) {
					t.Errorf("look %d after the last work gives memory back, want %d looks to pass", look, idleLooks)
				}
			}
			if got := i.gives(now); got != c.want {
				t.Errorf("an idle daemon gives memory back: %v, want %v", got, c.want)
			}
			if now = busy(now); i.gives(now) {
				t.Error("a busy daemon gives memory back")
			}
		})
	}
}

// A small heap is collected no more often than Go does it, so that a daemon with one busy job does not collect all the time.
func TestGarbageOfManyJobs(t *testing.T) {
	for live, want := range map[uint64]int{4 << 20: 100, manyJobs - 1: 100, manyJobs: 50, 1 << 30: 50} {
		if got := percentFor(live); got != want {
			t.Errorf("%d MiB live: %d %%, want %d", live>>20, got, want)
		}
	}
}
