package client

import (
	"slices"
	"sync"
)

// standing holds the reports about the current attempt that still hold. When the process registers again, the session
// repeats them to the owner, which may be new or restarted.
type standing struct {
	mu      sync.Mutex
	reports []Report
}

// note remembers a report; it takes the place of an earlier one of the same kind and subtasks.
func (s *standing) note(r Report) {
	if r.Kind == ReportFailed {
		return // a failure ends the attempt and is not repeated
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = slices.DeleteFunc(s.reports, func(old Report) bool {
		return old.Attempt < r.Attempt || old.Kind == r.Kind && slices.Equal(old.Subtasks, r.Subtasks)
	})
	s.reports = append(s.reports, r)
}

// of returns the reports of an attempt, in their order.
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
