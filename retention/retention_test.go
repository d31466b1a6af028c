package retention

import (
	"fmt"
	"strings"
	"testing"
)

func text(ds []Decision) string {
	var out []string
	for _, d := range ds {
		out = append(out, fmt.Sprintf("%d %s: %s", d.ID, [...]string{"keep", "hide", "drop", "trash"}[d.Action], d.Reason))
	}
	return strings.Join(out, "; ")
}

func TestAfterCompletion(t *testing.T) {
	for _, test := range []struct {
		checkpoints []Checkpoint
		number      uint32
		want        string
	}{
		{[]Checkpoint{{ID: 1}}, 0, "1 keep: one of the newest"},
		{[]Checkpoint{{ID: 1}, {ID: 2}}, 1, "1 drop: subsumed; 2 keep: one of the newest"},
		{[]Checkpoint{{ID: 1}, {ID: 2}, {ID: 3}}, 2, "1 drop: subsumed; 2 keep: one of the newest; 3 keep: one of the newest"},
		{[]Checkpoint{{ID: 1, Lent: true}, {ID: 2}}, 1, "1 hide: subsumed, but lent; 2 keep: one of the newest"},
		{[]Checkpoint{{ID: 1, Lent: true, Hidden: true}, {ID: 2}}, 1, "1 keep: hidden, lent; 2 keep: one of the newest"},
		{[]Checkpoint{{ID: 1, Hidden: true}, {ID: 2}}, 5, "1 drop: hidden, no longer lent; 2 keep: one of the newest"},
		{[]Checkpoint{{ID: 1, Imported: true}, {ID: 2}}, 5, "1 drop: imported, and the job has a checkpoint of its own; 2 keep: one of the newest"},
		{[]Checkpoint{{ID: 1, Imported: true, Keep: true, Lent: true}, {ID: 2}}, 5,
			"1 hide: imported, and the job has a checkpoint of its own, but lent; 2 keep: one of the newest"},
		{[]Checkpoint{{ID: 1, Imported: true, Hidden: true, Lent: true}, {ID: 2}}, 1, "1 keep: hidden, lent; 2 keep: one of the newest"},
		{[]Checkpoint{{ID: 1, Keep: true}, {ID: 2}, {ID: 3}}, 1, "1 keep: kept by a person; 2 drop: subsumed; 3 keep: one of the newest"},
		{[]Checkpoint{{ID: 1, Keep: true, Hidden: true}, {ID: 2}}, 1, "1 drop: hidden, no longer lent; 2 keep: one of the newest"},
		{[]Checkpoint{{ID: 1}, {ID: 2, Savepoint: true}, {ID: 3, Trashed: true}}, 1, "1 keep: one of the newest; 2 keep: a savepoint; 3 keep: in the trash"},
	} {
		if got := text(AfterCompletion(test.checkpoints, test.number)); got != test.want {
			t.Errorf("%+v, %d:\n got %s\nwant %s", test.checkpoints, test.number, got, test.want)
		}
	}
}

// TestAfterEnd is Flink's table of retention policies: CheckpointRetentionPolicy.
func TestAfterEnd(t *testing.T) {
	kept := map[Policy][3]bool{ // canceled, failed, finished
		Nothing:        {false, false, false},
		OnFailure:      {false, true, false},
		OnCancellation: {true, true, false},
	}
	for policy, ends := range kept {
		for end, keep := range ends {
			got := AfterEnd([]Checkpoint{{ID: 1}, {ID: 2, Savepoint: true}, {ID: 3, Lent: true}, {ID: 4, Keep: true}}, policy, End(end), false)
			want := "1 drop: the job ended; 2 keep: a savepoint; 3 hide: the job ended, but lent; 4 keep: kept by a person"
			if keep {
				want = "1 keep: retained by the job's configuration; 2 keep: a savepoint; 3 keep: retained by the job's configuration; 4 keep: kept by a person"
			}
			if text(got) != want {
				t.Errorf("policy %d, end %d: %s, want %s", policy, end, text(got), want)
			}
		}
	}
}
