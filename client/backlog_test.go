package client

import (
	"slices"
	"testing"
)

// TestBacklogOfARegistration: the subtasks of a backlog are those of the newest reports, and no registration carries the reports themselves.
func TestBacklogOfARegistration(t *testing.T) {
	own := []Subtask{{"a", 0}, {"a", 1}, {"b", 0}}
	on := func(s ...Subtask) Report { return Report{Kind: ReportBacklog, Attempt: 1, Subtasks: s, Backlog: true} }
	off := func(s ...Subtask) Report { return Report{Kind: ReportBacklog, Attempt: 1, Subtasks: s} }
	for name, c := range map[string]struct {
		reports []Report
		want    []Subtask
	}{
		"none":                  {nil, nil},
		"one":                   {[]Report{on(own[1])}, own[1:2]},
		"all":                   {[]Report{on()}, own},
		"all but one":           {[]Report{on(), off(own[1])}, []Subtask{own[0], own[2]}},
		"off and on":            {[]Report{on(), off(), on(own[2])}, own[2:]},
		"twice":                 {[]Report{on(own[0]), on(own[0])}, own[:1]},
		"the end of the data":   {[]Report{on(), {Kind: ReportEndOfData, Attempt: 1, Subtasks: own[:2]}}, own[2:]},
		"all finished":          {[]Report{on(), {Kind: ReportFinished, Attempt: 1}}, nil},
		"another kind":          {[]Report{on(), {Kind: ReportRunning, Attempt: 1}}, own},
		"of an earlier attempt": {[]Report{on(), {Kind: ReportRunning, Attempt: 2}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var s standing
			attempt := uint64(1)
			for _, r := range c.reports {
				s.note(r)
				attempt = r.Attempt
			}
			reports, _ := s.after(attempt, 0)
			got := backlogged(reports, own)
			slices.SortFunc(got, func(x, y Subtask) int { return slices.Index(own, x) - slices.Index(own, y) })
			if !slices.Equal(got, c.want) {
				t.Errorf("%v work off a backlog, want %v", got, c.want)
			}
			for _, r := range toStanding(reports) {
				if r.GetKind() == reportKinds[ReportBacklog] {
					t.Error("the registration carries a kind of report that an older daemon refuses")
				}
			}
		})
	}
}
