package client

import (
	"slices"
	"sync"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// standing is what the process does in its current attempt: the reports that still hold, and the checkpoints that it
// has begun. A registration carries both, because the owner may be new or restarted.
type standing struct {
	mu      sync.Mutex
	reports []noted
	// last numbers the reports.
	last uint64
	// begun are checkpoints of attempt that the process has begun, and whose end it has not heard.
	begun   []uint64
	attempt uint64
}

// noted is a report with its number.
type noted struct {
	Report
	number uint64
}

// note remembers a report. It takes the place of what earlier ones of its kind say about its subtasks, so that there are
// never more reports than subtasks.
func (s *standing) note(r Report) {
	if r.Kind == ReportFailed {
		return // a failure ends the attempt and is not repeated
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = slices.DeleteFunc(s.reports, func(old noted) bool { return old.Attempt < r.Attempt || old.Kind == r.Kind && covers(r, old.Report) })
	for i, old := range s.reports {
		if old.Kind == r.Kind {
			s.reports[i].Subtasks = slices.DeleteFunc(slices.Clone(old.Subtasks), func(t Subtask) bool { return slices.Contains(r.Subtasks, t) })
		}
	}
	s.last++
	s.reports = append(s.reports, noted{r, s.last})
}

// covers tells whether a report names all subtasks of an older one. None named means all of the registration.
func covers(r, old Report) bool {
	if len(r.Subtasks) == 0 || len(old.Subtasks) == 0 {
		return len(r.Subtasks) == 0
	}
	return !slices.ContainsFunc(old.Subtasks, func(t Subtask) bool { return !slices.Contains(r.Subtasks, t) })
}

// after returns the reports of an attempt that were noted after the report of a number (0: all of them), in their
// order, with the number of the last; 0: there is none.
func (s *standing) after(attempt, number uint64) (reports []Report, last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.reports {
		if r.Attempt == attempt && r.number > number {
			reports, last = append(reports, r.Report), r.number
		}
	}
	return reports, last
}

// begin notes that the process has begun a checkpoint.
func (s *standing) begin(attempt, checkpoint uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if attempt > s.attempt {
		s.attempt, s.begun = attempt, nil
	}
	if attempt == s.attempt && !slices.Contains(s.begun, checkpoint) {
		s.begun = append(s.begun, checkpoint)
	}
}

// hear notes what a command says about checkpoints: their begin or their end.
func (s *standing) hear(c Command) {
	switch c := c.(type) {
	case Trigger:
		s.begin(c.Attempt, c.Checkpoint)
	case Complete:
		s.end(func(id uint64) bool { return id <= c.Checkpoint })
	case Abort:
		s.end(func(id uint64) bool { return id == c.Checkpoint || id <= c.LatestComplete })
	}
}

func (s *standing) end(over func(id uint64) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = slices.DeleteFunc(s.begun, over)
}

// of returns the checkpoints that the process has begun in an attempt, and whose end it has not heard.
func (s *standing) of(attempt uint64) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if attempt != s.attempt {
		return nil
	}
	return slices.Clone(s.begun)
}

// toStanding makes the reports of a registration.
func toStanding(reports []Report) []*ckptdv1.StandingReport {
	var out []*ckptdv1.StandingReport
	for _, r := range reports {
		if r.Kind != ReportBacklog {
			out = append(out, &ckptdv1.StandingReport{Kind: reportKinds[r.Kind], Subtasks: toSubtasks(r.Subtasks), CheckpointId: r.Checkpoint})
		}
	}
	return out
}

// backlogged are the subtasks of a process that work off a backlog.
func backlogged(reports []Report, own []Subtask) (in []Subtask) {
	for _, r := range reports {
		about := r.Subtasks
		if len(about) == 0 {
			about = own
		}
		switch r.Kind {
		case ReportBacklog, ReportEndOfData, ReportFinished:
			in = slices.DeleteFunc(in, func(s Subtask) bool { return slices.Contains(about, s) })
		}
		if r.Kind == ReportBacklog && r.Backlog {
			in = append(in, about...)
		}
	}
	return in
}
