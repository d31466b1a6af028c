package coordinator

import "testing"

// TestAFailureCountsOnlyAfterTheLastSuccess: a checkpoint that is complete, or older than one that is, does not count.
func TestAFailureCountsOnlyAfterTheLastSuccess(t *testing.T) {
	for id, want := range map[uint64]int{0: 1, 4: 0, 5: 0, 6: 1} { // 0: a failure before there was an id
		f := failures{tolerable: Never, lastSucceeded: 5}
		f.failed(id, ReasonExpired)
		if f.consecutive != want {
			t.Errorf("checkpoint %d failed after 5 was complete: %d failures counted, want %d", id, f.consecutive, want)
		}
	}
}
