package shell

import (
	"time"
)

// An owner sweeps soon after its attach, and then at intervals. The last sweep of an ended job waits for the workers: a
// sweep before their last uploads would miss the files.
const (
	firstSweep = 2 * time.Second        // from the attach to the first sweep
	sweepEvery = time.Hour              // between sweeps
	leaveTime  = 5 * time.Second        // how long the workers of an ended job are waited for
	lookAgain  = 100 * time.Millisecond // between two looks whether they have left
	// memorySweep is from an abort to a sweep in memory. What an aborted checkpoint has sent lies there until then, and a memory that is full
	// of it lets no checkpoint complete, of any job.
	memorySweep = time.Second
	// yields is how often a sweep is put off by firstSweep because the daemon still takes jobs back.
	yields = 5
)

// sweeps is when a job sweeps next.
type sweeps struct {
	due time.Time // zero: no sweep is planned
	// leaveBy ends the wait for the workers of an ended job; zero: the job has not ended.
	leaveBy time.Time
	running bool
	yielded int // how often the next sweep was put off
}

// next is the next deadline; zero: there is none. While a sweep runs, the next sweep has no deadline.
func (s *sweeps) next() time.Time {
	if s.running {
		return time.Time{}
	}
	return s.due
}

// begin reports whether a sweep begins now. noUploads tells whether no upload runs, noWorkers whether all workers have
// left.
func (s *sweeps) begin(now time.Time, noUploads, noWorkers func() bool) bool {
	if s.due.IsZero() || now.Before(s.due) || s.running {
		return false
	}
	if s.last() && !(noUploads() && (noWorkers() || now.After(s.leaveBy))) {
		s.due = now.Add(lookAgain)
		return false
	}
	s.due, s.running, s.yielded = now.Add(sweepEvery), true, 0
	return true
}

// last reports whether the next sweep is the last one: the job has ended.
func (s *sweeps) last() bool { return !s.leaveBy.IsZero() }

// yield puts a sweep off that is due, unless it is the last one or was put off often: the daemon takes jobs back, which their workers
// wait for.
func (s *sweeps) yield(now time.Time) {
	if s.due.IsZero() || now.Before(s.due) || s.last() || s.yielded == yields {
		return
	}
	s.due, s.yielded = now.Add(firstSweep), s.yielded+1
}

// attached plans the first sweep.
func (s *sweeps) attached(now time.Time) { s.due = now.Add(firstSweep) }

// soon plans a sweep for now.
func (s *sweeps) soon(now time.Time) { s.due = now }

// within plans the next sweep for that time at the latest, if one is planned.
func (s *sweeps) within(at time.Time) {
	if !s.due.IsZero() && s.due.After(at) {
		s.due = at
	}
}

// jobEnded plans the last sweep, for when the workers have left.
func (s *sweeps) jobEnded(now time.Time) { s.leaveBy, s.due = now.Add(leaveTime), now }

// ended notes the end of a sweep. If it failed, it is begun again later.
func (s *sweeps) ended(now time.Time, failed bool) {
	if s.running = false; failed {
		s.due = now.Add(firstSweep)
	}
}
