package engine

import (
	"context"
	"maps"
	"slices"
	"testing"
)

// TestWhatACompleteCheckpointEnds: earlier checkpoints end with it. A savepoint ends only when all of it is sent.
func TestWhatACompleteCheckpointEnds(t *testing.T) {
	a := &Attempt{ctx: context.Background(), open: map[uint64]*begun{}}
	a.mu.Lock()
	for id, savepoint := range map[uint64]bool{1: false, 2: true, 3: true, 4: false, 5: false, 6: true} {
		a.beginLocked(id, savepoint)
	}
	a.open[2].uploads = 1
	earlier, sending := a.open[1], a.open[2]
	a.mu.Unlock()
	if sent := a.endUpTo(4); !slices.Equal(sent, []uint64{3}) {
		t.Errorf("the savepoints %v were sent, want 3", sent)
	}
	if left := slices.Sorted(maps.Keys(a.open)); !slices.Equal(left, []uint64{2, 5, 6}) {
		t.Errorf("%v are left, want 2, 5 and 6", left)
	}
	if earlier.ctx.Err() == nil || sending.ctx.Err() != nil {
		t.Errorf("the earlier checkpoint: %v, the savepoint that is sent: %v; want only the first one canceled", earlier.ctx.Err(), sending.ctx.Err())
	}
	sending.uploads = 0
	if sent := a.endUpTo(5); !slices.Equal(sent, []uint64{2}) {
		t.Errorf("the savepoints %v were sent, want 2", sent)
	}
	if !a.endOf(6) || a.endOf(6) {
		t.Error("savepoint 6 ends once, when it is aborted")
	}
}
