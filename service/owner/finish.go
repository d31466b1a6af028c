package owner

import "github.com/ckptd/ckptd/layout/journal"

// subtasksFinished takes a worker's report that subtasks have finished for good. When all subtasks of the plan have
// finished in the same attempt, the job ends as FINISHED. Reports of another attempt, or of an attempt that has failed,
// change nothing: the next attempt runs all subtasks again.
func (s *step) subtasksFinished(ev *Event) {
	i, w := s.worker(ev.Worker)
	if i < 0 || w.Gone || ev.Attempt != s.head.Attempt || w.Attempt != ev.Attempt || !s.goesOn() {
		return
	}
	before := s.finished
	s.finished = s.finished.Or(ev.Subtasks.And(w.Subtasks))
	if s.finished == before {
		return
	}
	if s.done(w) {
		s.emit(Op{Kind: TellFinished, Worker: w.Worker, Attempt: ev.Attempt})
	}
	if s.all().In(s.finished) && s.ending.status == journal.StatusNone && !s.stop {
		s.ending = ending{status: journal.StatusFinished, ended: ev.Ended}
		s.abortAll(ReasonStopping)
	}
}

// goesOn tells whether the attempt of the head may still run: nobody has given it up, and the entry of the next one is
// not being published.
func (m *Machine) goesOn() bool {
	return (m.Live() || m.attempt == attemptFound) && m.doing != journal.KindAttempt
}

// done tells whether all subtasks of a process have finished in the running attempt, so that the attempt does not need
// the process any more.
func (m *Machine) done(w Registration) bool {
	return m.goesOn() && w.Attempt == m.head.Attempt && w.Subtasks.In(m.finished)
}
