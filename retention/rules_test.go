package retention

import "testing"

// byFlags returns a checkpoint; each bit of flags sets one of its four flags.
func byFlags(id uint64, flags int) Checkpoint {
	return Checkpoint{ID: id, Savepoint: flags&1 > 0, Lent: flags&2 > 0, Hidden: flags&4 > 0, Trashed: flags&8 > 0}
}

// action returns the expected action for a checkpoint; kept: the policy keeps it.
func action(c Checkpoint, kept bool) Action {
	switch {
	case c.Hidden && !c.Lent:
		return Drop // its last pin was returned
	case c.Hidden, c.Trashed, c.Savepoint, kept:
		return Keep
	case c.Lent:
		return Hide
	}
	return Drop
}

// ordinary reports whether policies count and drop a checkpoint.
func ordinary(c Checkpoint) bool { return !c.Savepoint && !c.Hidden && !c.Trashed }

// The test covers every list of three checkpoints of any kind, with every number to retain.
func TestEveryCompletion(t *testing.T) {
	for flags := range 16 * 16 * 16 {
		checkpoints := []Checkpoint{byFlags(3, flags&15), byFlags(5, flags>>4&15), byFlags(9, flags>>8)}
		for number := range uint32(5) {
			got := AfterCompletion(checkpoints, number)
			for i, c := range checkpoints {
				newer := uint32(0)
				for _, other := range checkpoints[i+1:] {
					if ordinary(other) {
						newer++
					}
				}
				if want := action(c, newer < max(1, number)); got[i].ID != c.ID || got[i].Action != want || got[i].Reason == "" {
					t.Fatalf("%+v, %d to be retained: %+v, want action %d for %d and a reason", checkpoints, number, got[i], want, c.ID)
				}
			}
		}
	}
}

func TestEveryEnd(t *testing.T) {
	kept := map[Policy]map[End]bool{
		Nothing: {}, OnFailure: {Failed: true}, OnCancellation: {Failed: true, Canceled: true},
	}
	for flags := range 16 * 16 {
		checkpoints := []Checkpoint{byFlags(3, flags&15), byFlags(5, flags>>4)}
		for policy, ends := range kept {
			for _, end := range []End{Canceled, Failed, Finished} {
				for i, d := range AfterEnd(checkpoints, policy, end, false) {
					if want := action(checkpoints[i], ends[end]); d.ID != checkpoints[i].ID || d.Action != want || d.Reason == "" {
						t.Fatalf("%+v, policy %d, end %d: %+v, want action %d and a reason", checkpoints[i], policy, end, d, want)
					}
				}
			}
		}
	}
}
