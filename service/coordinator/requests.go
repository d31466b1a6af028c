package coordinator

import (
	"slices"
	"time"
)

// Kind says which state of earlier checkpoints a checkpoint may reuse.
type Kind uint8

// The kinds. KindConfigured, the zero value, is what the engine does anyhow.
const (
	KindConfigured Kind = iota
	// KindFull: everything is sent anew.
	KindFull
	// KindIncremental: only what is new is sent.
	KindIncremental
)

// request is a checkpoint or savepoint that somebody or something wants.
type request struct {
	// savepoint: it is forced, because no barrier overtakes records: it runs even if the limit of pending checkpoints is reached.
	savepoint bool
	periodic  bool
	kind      Kind
	caller    uint64    // 0: nobody waits
	deadline  time.Time // once Trigger was decided: until then the owner should have begun it; zero: no matter
}

// rank is Flink's order: savepoints come before checkpoints, and what a person wants before what a clock wants. Of two equal ones the
// older comes first.
func (r *request) rank() int {
	rank := 0
	if !r.savepoint {
		rank += 2
	}
	if r.periodic {
		rank++
	}
	return rank
}

// requested takes the wish for a checkpoint.
func (m *Machine) requested(e Request) {
	if why := m.notAllRunning(); why != "" {
		m.answer(e.Caller, 0, ReasonNotAllRunning, why)
		return
	}
	m.enqueue(request{caller: e.Caller, kind: e.Kind})
}

// savepointRequested takes the wish for a savepoint. While no attempt runs it goes to the owner at once: the owner says why it begins
// none, or answers a repeated request.
func (m *Machine) savepointRequested(e SavepointRequest) {
	r := request{savepoint: true, periodic: e.Periodic, caller: e.Caller}
	switch {
	case m.phase != running:
		m.triggerSavepoint(r)
	case m.notAllRunning() != "":
		m.answer(e.Caller, 0, ReasonNotAllRunning, m.notAllRunning())
	default:
		m.enqueue(r)
	}
}

// notAllRunning says why no checkpoint can begin, for as long as the attempt lasts; empty: it can.
func (m *Machine) notAllRunning() string {
	switch {
	case m.phase != running:
		return "the attempt is not running: " + m.phase.waitsFor()
	case m.partly && m.policy.StopAfterFinish:
		return "a subtask has finished, and execution.checkpointing.checkpoints-after-tasks-finish is false"
	}
	return ""
}

// enqueue adds a request to the queue at its turn. If the queue is full, the last periodic request has to go; if there is none, the new
// one does.
func (m *Machine) enqueue(r request) {
	s := &m.schedule
	if n := len(s.queue); n >= maxQueued && !s.queue[n-1].periodic {
		m.answer(r.caller, 0, ReasonTooManyRequests, "")
		return
	}
	at := slices.IndexFunc(s.queue, func(q request) bool { return q.rank() > r.rank() })
	if at < 0 {
		at = len(s.queue)
	}
	if s.queue = slices.Insert(s.queue, at, r); len(s.queue) > maxQueued {
		m.answer(s.queue[maxQueued].caller, 0, ReasonTooManyRequests, "")
		s.queue = s.queue[:maxQueued]
	}
}

// trigger starts what may start now, in the order of the queue.
func (m *Machine) trigger() {
	s := &m.schedule
	for len(s.queue) > 0 && m.mayStart(&s.queue[0]) {
		head := s.queue[0]
		s.queue = slices.Delete(s.queue, 0, 1)
		switch {
		case head.savepoint:
			m.triggerSavepoint(head)
		case head.periodic && m.pauseEnd().After(m.now):
			s.next = m.pauseEnd() // dropped; the timer starts anew from here
		default:
			head.deadline = m.now.Add(m.policy.Timeout)
			s.triggering = &head
			m.decide(Trigger{Manual: head.caller != 0, Kind: head.kind})
		}
	}
}

func (m *Machine) triggerSavepoint(r request) {
	m.schedule.saving++
	m.decide(TriggerSavepoint{Caller: r.caller})
}

// mayStart reports whether the request at the head of the queue may start. While a checkpoint is unresolved no other begins: nobody
// knows yet which one the next would follow.
func (m *Machine) mayStart(head *request) bool {
	switch s := &m.schedule; {
	case m.phase != running, s.triggering != nil, !m.held.IsZero():
		return false
	case head.savepoint:
		return true
	default:
		return s.saving == 0 && m.open() < m.policy.MaxConcurrent && !slices.ContainsFunc(m.pending, func(p pending) bool { return p.unresolved })
	}
}

// cleaned takes how many checkpoints wait to be deleted. While they are more than may be pending, nothing begins, so that a slow store
// does not fill up. A store that does not delete at all holds the job up for one checkpoint timeout only.
func (m *Machine) cleaned(waiting int) {
	limit, before := m.policy.MaxConcurrent, m.cleaning
	if m.cleaning = waiting; waiting <= limit {
		m.held = time.Time{}
	} else if before <= limit {
		m.held = m.now.Add(m.policy.Timeout)
	}
}

// open counts the pending checkpoints, and the savepoints that some subtask has not acknowledged.
func (m *Machine) open() (n int) {
	for i := range m.pending {
		if !m.pending[i].copying {
			n++
		}
	}
	return n
}
