package coordinator

import (
	"math/rand/v2"
	"time"
)

// startTimer arms the periodic timer: the first time at random between the pause and the interval.
func (m *Machine) startTimer() {
	if m.interval() == 0 || m.notAllRunning() != "" {
		return
	}
	first := m.policy.MinPause
	if span := m.policy.Interval - m.policy.MinPause; span > 0 {
		first += time.Duration(rand.New(&m.random).Int64N(int64(span) + 1))
	}
	// At least one step of time, or the timer would be due in the Step that arms it.
	m.schedule.next = m.now.Add(max(first, time.Millisecond))
}

// interval is the period of the timer now; 0: none.
func (m *Machine) interval() time.Duration {
	switch {
	case !m.backlog || m.policy.BacklogInterval == 0:
		return m.policy.Interval
	case m.policy.BacklogInterval < 0:
		return 0
	}
	return m.policy.BacklogInterval
}

// periodic queues a periodic request when the timer is due. The rate is fixed: the next time counts from the planned one, not
// from now. Missed periods are skipped. If enough periodic requests wait already, no new one is added. So a checkpoint that
// took ten intervals is not followed by ten checkpoints at once. Without a period the timer ends; the end of the backlog arms it again.
func (m *Machine) periodic() {
	every := m.interval()
	if every == 0 {
		m.schedule.next = time.Time{}
		return
	}
	late := m.now.Sub(m.schedule.next)
	m.schedule.next = m.schedule.next.Add((late/every + 1) * every)
	waiting := 0
	for i := range m.schedule.queue {
		if q := &m.schedule.queue[i]; q.periodic && !q.savepoint {
			waiting++
		}
	}
	if waiting < m.policy.MaxConcurrent {
		m.enqueue(request{periodic: true})
	}
}

// backlogChanged takes a change of the sources' backlog. The other interval counts from now if the timer would fire earlier with it.
// Otherwise it counts from the next time that is planned already.
func (m *Machine) backlogChanged(e Backlog) {
	if e.Attempt != m.attempt {
		return
	}
	m.backlog = e.On
	every := m.interval()
	if every == 0 || m.notAllRunning() != "" {
		return
	}
	if at := m.now.Add(every); m.schedule.next.IsZero() || at.Before(m.schedule.next) {
		m.schedule.next = at
	}
}

// partlyFinished stops the checkpoints of an attempt in which a subtask has finished, if the job wants none then.
func (m *Machine) partlyFinished(e SubtasksFinished) {
	if e.Attempt != m.attempt {
		return
	}
	m.partly = true
	if why := m.notAllRunning(); m.phase == running && why != "" {
		m.schedule.next = time.Time{}
		m.answerQueue(ReasonNotAllRunning, why)
	}
}
