package retention

import "testing"

// TestFlinksTable is the whole table of what Flink discards, for each kind of checkpoint and each event. What ckptd does otherwise is
// said in the row.
func TestFlinksTable(t *testing.T) {
	const (
		subsumed = iota
		finished
		cancelled
		failed
		suspended
		events
	)
	type row [events]Action
	plain := Checkpoint{ID: 1}
	for _, test := range []struct {
		name   string
		c      Checkpoint
		policy Policy
		want   row
	}{
		{"CC-5 never retain", plain, Nothing, row{Drop, Drop, Drop, Drop, Keep}},
		{"CC-1 retain on failure", plain, OnFailure, row{Drop, Drop, Drop, Keep, Keep}},
		{"CC-1 retain on cancellation", plain, OnCancellation, row{Drop, Drop, Keep, Keep, Keep}},
		{"CC-2 CC-3 a savepoint", Checkpoint{ID: 1, Savepoint: true}, Nothing, row{Keep, Keep, Keep, Keep, Keep}},
		// The source stays its job's: the import is a checkpoint of this job that names foreign files, and the job drops only that.
		{"restored in NO_CLAIM, never retain", Checkpoint{ID: 1, Imported: true}, Nothing, row{Drop, Drop, Drop, Drop, Keep}},
		{"restored in NO_CLAIM, retain on cancellation", Checkpoint{ID: 1, Imported: true}, OnCancellation, row{Drop, Drop, Keep, Keep, Keep}},
		// No Flink has these: other jobs and people want the checkpoint.
		{"lent", Checkpoint{ID: 1, Lent: true}, Nothing, row{Hide, Hide, Hide, Hide, Keep}},
		{"kept by a person", Checkpoint{ID: 1, Keep: true}, Nothing, row{Keep, Keep, Keep, Keep, Keep}},
		{"in the trash", Checkpoint{ID: 1, Trashed: true}, Nothing, row{Keep, Keep, Keep, Keep, Keep}},
		{"hidden and lent", Checkpoint{ID: 1, Hidden: true, Lent: true}, OnCancellation, row{Keep, Keep, Keep, Keep, Keep}},
		{"hidden", Checkpoint{ID: 1, Hidden: true}, OnCancellation, row{Drop, Drop, Drop, Drop, Keep}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for event, want := range test.want {
				var got, trash Decision
				switch event {
				case subsumed:
					got = AfterCompletion([]Checkpoint{test.c, {ID: 2}}, 1)[0]
					trash = got // subsumption never uses the trash
				case suspended:
					// A daemon that stops is a suspension. The journal stays, so nothing is decided and nothing is deleted: as Flink
					// with high availability. Flink without it deletes what only RETAIN_ON_CANCELLATION keeps.
					got, trash = Decision{1, Keep, "the job goes on"}, Decision{1, want, ""}
				default:
					end := map[int]End{finished: Finished, cancelled: Canceled, failed: Failed}[event]
					got = AfterEnd([]Checkpoint{test.c}, test.policy, end, false)[0]
					trash = AfterEnd([]Checkpoint{test.c}, test.policy, end, true)[0]
				}
				if got.Action != want || got.Reason == "" {
					t.Errorf("event %d: %+v, want action %d", event, got, want)
				}
				wanted := want
				if event != subsumed && !test.c.Hidden && (want == Drop || want == Hide) {
					wanted = Trash
				}
				if trash.Action != wanted {
					t.Errorf("event %d, with a trash: %+v, want action %d", event, trash, wanted)
				}
			}
		})
	}
}

// TestUnclaimed: what a job has restored in NO_CLAIM is unclaimed until it has a checkpoint of its own, whatever num-retained says. A
// savepoint of its own does not count, because it is not decided upon as a completion.
func TestUnclaimed(t *testing.T) {
	for number := range uint32(5) {
		got := AfterCompletion([]Checkpoint{{ID: 1, Imported: true}, {ID: 2}}, number)
		if got[0].Action != Drop || got[1].Action != Keep {
			t.Errorf("%d retained: %+v", number, got)
		}
	}
}
