package coordinator

import (
	"slices"
	"time"
)

// worker is a registered process.
type worker struct {
	nonce string
	heard time.Time // when it last gave a sign of life
	gone  time.Time // when its stream broke; zero: the stream stands
}

// lostAt is when a worker counts as lost if nothing is heard of it, and why. The grace after a broken stream is short, so that a
// restart follows soon. If no restart may follow, a short grace would only end the job, so the worker has as long as a silent one.
func (m *Machine) lostAt(w worker) (time.Time, string) {
	grace, silent := m.times.Grace, w.heard.Add(m.times.Silence)
	if !m.restarts.may(m.policy.Restart, m.now) {
		grace = max(grace, m.times.Silence)
		silent = later(silent, w.gone.Add(grace))
	}
	if back := w.gone.Add(grace); !w.gone.IsZero() && !back.After(silent) {
		return back, "its connection broke and it did not come back within " + grace.String()
	}
	return silent, "nothing was heard of it for " + m.times.Silence.String()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (m *Machine) workerUp(nonce string) {
	if w := m.worker(nonce); w != nil {
		w.heard, w.gone = m.now, time.Time{}
		return
	}
	m.workers = append(m.workers, worker{nonce: nonce, heard: m.now})
	if m.pingAt.IsZero() {
		m.pingAt = m.now.Add(m.times.Ping)
	}
}

func (m *Machine) workerGone(nonce string) {
	if w := m.worker(nonce); w != nil && w.gone.IsZero() {
		w.gone = m.now
	}
}

func (m *Machine) alive(nonce string) {
	if w := m.worker(nonce); w != nil {
		w.heard = m.now
	}
}

// workerLeft begins the next attempt without a failure if the process belonged to this one. Its subtasks need another process.
func (m *Machine) workerLeft(e WorkerLeft) {
	m.forget(e.Worker)
	cause := "worker " + e.Worker + " said goodbye"
	switch {
	case m.finished[e.Worker]:
	case m.roster[e.Worker] && (m.phase == starting || m.phase == running):
		m.newAttempt(NewAttempt{Attempt: m.attempt, Cause: cause})
	case m.phase == suspended && !m.registrationAt.IsZero():
		// The process ran the attempt that this owner found. It will not come back, so nobody waits for it.
		m.registrationAt = m.now
	}
}

func (m *Machine) workerDead(e WorkerDead) {
	m.forget(e.Worker)
	m.workerMissed(e.Worker, e.Cause)
}

// overdue gives up the workers that were not heard of in time.
func (m *Machine) overdue() {
	for _, w := range slices.Clone(m.workers) {
		at, cause := m.lostAt(w)
		if at.After(m.now) {
			continue
		}
		m.forget(w.nonce)
		m.decide(WorkerLost{Worker: w.nonce, Cause: cause})
		m.workerMissed(w.nonce, cause)
	}
}

// workerMissed fails the attempt if it needs the process. The loss of any other process changes nothing.
func (m *Machine) workerMissed(nonce, cause string) {
	if m.roster[nonce] && !m.finished[nonce] {
		m.failAttempt("worker " + nonce + " lost: " + cause)
	}
}

// overslept moves the workers' deadlines if this process itself stood still: it was stopped, starved or swapped out. The
// workers' signs of life may lie unread in its queues. The time since the last Step does not count: each deadline is as far
// away afterwards as it was before.
func (m *Machine) overslept(now time.Time) {
	planned, ok := m.NextDeadline()
	if !ok || now.Sub(planned) <= m.times.Ping {
		return
	}
	stood := now.Sub(m.now)
	for i := range m.workers {
		w := &m.workers[i]
		w.heard = w.heard.Add(stood)
		if !w.gone.IsZero() {
			w.gone = w.gone.Add(stood)
		}
	}
	if !m.registrationAt.IsZero() {
		m.registrationAt = m.registrationAt.Add(stood)
	}
}

func (m *Machine) worker(nonce string) *worker {
	for i := range m.workers {
		if m.workers[i].nonce == nonce {
			return &m.workers[i]
		}
	}
	return nil
}

func (m *Machine) forget(nonce string) {
	m.workers = slices.DeleteFunc(m.workers, func(w worker) bool { return w.nonce == nonce })
	if len(m.workers) == 0 {
		m.pingAt = time.Time{}
	}
}
