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
		if len(m.aborts) != rememberedAborts || m.abortsBelow != m.aborts[0]-2 {
			t.Fatalf("remembers %v, below %d; want a full list, and the ids below it dropped", m.aborts, m.abortsBelow)
		}
		lowest := m.aborts[0]
		for id, want := range map[uint64]Kind{lowest - 3: Cancel, lowest + 1: Forward, lowest + 2: Cancel, 199: Forward} {
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
