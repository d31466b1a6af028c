package aligner

import "testing"

// SC-4: many aborts come before any barrier. The machine remembers as many as its bound, counts all ids below as
// aborted, and accepts the ids between them.
func TestManyAborts(t *testing.T) {
	t.Run("SC-4", func(t *testing.T) {
		m := New(0)
		for id := uint64(10); id < 200; id += 2 {
			m.Aborted(id)
			m.Aborted(id)
		}
		const lowest = 198 - 2*(rememberedAborts-1)
		if len(m.aborts) != rememberedAborts || m.aborts[0] != lowest || m.abortsBelow != lowest-2 {
			t.Fatalf("remembers %v, below %d; want the %d highest ids, each once", m.aborts, m.abortsBelow, rememberedAborts)
		}
		m.Aborted(lowest - 20)
		if len(m.aborts) != rememberedAborts || m.aborts[0] != lowest || m.abortsBelow != lowest-2 {
			t.Fatalf("after an old id again: remembers %v, below %d; want no change", m.aborts, m.abortsBelow)
		}
		for id, want := range map[uint64]Kind{lowest - 3: Cancel, lowest - 2: Cancel, lowest - 1: Forward, lowest + 1: Forward, lowest + 2: Cancel, 199: Forward} {
			clone := *m
			clone.aborts = append([]uint64(nil), m.aborts...)
			clone.out = nil
			if got := clone.Trigger(id); len(got) == 0 || got[0].Kind != want {
				t.Errorf("trigger %d: %v, want %v", id, got, want)
			}
		}
		m.Trigger(199)
		if len(m.aborts) != 0 {
			t.Errorf("remembers %v, want nothing", m.aborts)
		}
	})
	t.Run("SC-8", func(t *testing.T) {
		m := New(0)
		m.Trigger(5)
		if m.Aborted(5); len(m.aborts) != 0 {
			t.Errorf("remembers %v after the snapshot, want nothing", m.aborts)
		}
	})
}

func TestKindsHaveNames(t *testing.T) {
	for k, want := range map[Kind]string{0: "?", Block: "block", End: "end", End + 1: "?", 255: "?"} {
		if got := k.String(); got != want {
			t.Errorf("kind %d is called %q, want %q", uint8(k), got, want)
		}
	}
}
