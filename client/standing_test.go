package client

import (
	"math/rand/v2"
	"testing"
)

// TestStandingIsBounded commits many checkpoints, each time of other subtasks together. What still holds is the newest
// checkpoint of each subtask, in no more reports than there are subtasks.
func TestStandingIsBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var s standing
	s.note(Report{Kind: ReportRunning, Attempt: 1})
	s.note(Report{Kind: ReportRunning, Attempt: 1})
	s.note(Report{Kind: ReportCommitted, Attempt: 1, Checkpoint: 7}) // of all subtasks
	want := map[Subtask]uint64{}
	for id := uint64(8); id < 200; id++ {
		r := Report{Kind: ReportCommitted, Attempt: 1, Checkpoint: id}
		for i := range uint32(6) {
			if rng.IntN(2) == 0 {
				sub := Subtask{Operator: "sink", Index: i}
				r.Subtasks, want[sub] = append(r.Subtasks, sub), id
			}
		}
		if len(r.Subtasks) == 0 {
			continue
		}
		before := len(r.Subtasks)
		s.note(r)
		if len(r.Subtasks) != before {
			t.Fatal("the caller's report has changed")
		}
	}
	reports, _ := s.after(1, 0)
	if len(reports) > 2+6 {
		t.Errorf("%d reports hold, want at most 8: running, all, and one for each subtask", len(reports))
	}
	got := map[Subtask]uint64{}
	for _, r := range reports {
		for _, sub := range r.Subtasks {
			got[sub] = r.Checkpoint
		}
	}
	for sub, id := range want {
		if got[sub] != id {
			t.Errorf("%v has committed %d as the reports say, want %d", sub, got[sub], id)
		}
	}
	s.note(Report{Kind: ReportCommitted, Attempt: 1, Checkpoint: 300})
	if reports, _ := s.after(1, 0); len(reports) != 2 {
		t.Errorf("after a commit of all subtasks %d reports hold, want running and this one", len(reports))
	}
	s.note(Report{Kind: ReportRunning, Attempt: 2})
	if reports, _ := s.after(1, 0); len(reports) != 0 {
		t.Errorf("%d reports of the attempt before hold, want none", len(reports))
	}
}
