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

// lostAt is when the worker counts as lost if nothing is heard of it, and why.
func (w worker) lostAt(t Times) (time.Time, string) {
	silent := w.heard.Add(t.Silence)
	if back := w.gone.Add(t.Grace); !w.gone.IsZero() && back.Before(silent) {
		return back, "its connection broke and it did not come back within " + t.Grace.String()
	}
	return silent, "nothing was heard of it for " + t.Silence.String()
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

func (m *Machine) workerDead(e WorkerDead) {
	m.forget(e.Worker)
	m.workerMissed(e.Worker, e.Cause)
}

// overdue gives up the workers that were not heard of in time.
func (m *Machine) overdue() {
	for _, w := range slices.Clone(m.workers) {
		at, cause := w.lostAt(m.times)
		if at.After(m.now) {
			continue
		}
		m.forget(w.nonce)
		m.decide(WorkerLost{Worker: w.nonce, Cause: cause})
		m.workerMissed(w.nonce, cause)
	}
}

// workerMissed fails the attempt if the process belonged to it. The loss of any other process changes nothing.
func (m *Machine) workerMissed(nonce, cause string) {
	if m.roster[nonce] {
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
