package owner

import (
	"github.com/ckptd/ckptd/incremental"
)

func (m *Machine) worker(worker uint32) (int, Registration) {
	for i, w := range m.workers {
		if w.Worker == worker {
			return i, w
		}
	}
	return -1, Registration{}
}

// planned is all subtasks of the plan in the journal.
func (m *Machine) planned() Subtasks { return incremental.Range[Subtask](m.head.Plan.Subtasks()) }

// all is the subtasks of the job. Each must have a worker, must run and must acknowledge.
func (s *step) all() Subtasks {
	if s.cfg.off.plan {
		return s.registered()
	}
	return s.planned()
}

// covered tells whether every subtask has a worker.
func (s *step) covered() bool { return len(s.workers) > 0 && s.all().In(s.registered()) }

// allRunning tells whether every subtask of the live attempt runs.
func (s *step) allRunning() bool { return s.Live() && s.all().In(s.ran()) }

// ran is the subtasks that have reported that they run.
func (m *Machine) ran() (all Subtasks) {
	for _, w := range m.workers {
		all = all.Or(w.Running)
	}
	return all
}

// registered is the subtasks whose worker has registered and is not gone.
func (m *Machine) registered() (all Subtasks) {
	for _, w := range m.workers {
		if !w.Gone {
			all = all.Or(w.Subtasks)
		}
	}
	return all
}

// Live tells whether this owner has started or adopted the attempt of the head. If not, the attempt waits for workers
// or for EventNewAttempt.
func (m *Machine) Live() bool { return m.attempt == attemptStarted || m.attempt == attemptRunning }
