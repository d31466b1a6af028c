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
