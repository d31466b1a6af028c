package client

import (
	"slices"
	"sync"
)

// standing is what the process has reported of its current attempt and what still holds: a new owner, or the same one after a
// restart, is told all of it when the process registers again.
type standing struct {
	mu      sync.Mutex
	reports []Report
}

// note remembers a report; it takes the place of an earlier one of the same kind and subtasks.
func (s *standing) note(r Report) {
	if r.Kind == ReportFailed {
		return // that ends the attempt; it is not said twice
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = slices.DeleteFunc(s.reports, func(old Report) bool {
		return old.Attempt < r.Attempt || old.Kind == r.Kind && slices.Equal(old.Subtasks, r.Subtasks)
	})
	s.reports = append(s.reports, r)
}

// of answers the reports of an attempt, in their order.
func (s *standing) of(attempt uint64) []Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Report
	for _, r := range s.reports {
		if r.Attempt == attempt {
			out = append(out, r)
		}
	}
	return out
}
