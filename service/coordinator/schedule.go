package coordinator

import (
	"slices"
	"time"
)

// pending is a checkpoint that the owner has begun.
type pending struct {
	id         uint64
	caller     uint64 // 0: nobody waits
	deadline   time.Time
	aborting   bool // Abort was decided; the owner's answer is awaited
	unresolved bool // the owner alone knows how it ends
	savepoint  bool
	declined   bool // a subtask has declined it
	copying    bool // a savepoint that all subtasks have acknowledged
}

// schedule is what waits to be triggered.
type schedule struct {
	queue      []request // in the order of their turns
	triggering *request  // Trigger was decided, the answer is awaited
	saving     int       // how many TriggerSavepoint were decided whose answers are awaited
	next       time.Time // of the periodic timer; zero: it does not run
	completed  time.Time // of the newest completion; zero: none yet
}

// pauseEnd is when the pause after the newest completion is over.
func (m *Machine) pauseEnd() time.Time {
	if m.schedule.completed.IsZero() {
		return time.Time{}
	}
	return m.schedule.completed.Add(m.policy.MinPause)
}

// unanswered counts a failure when the owner could not begin a checkpoint within one checkpoint timeout, because the store does
// not answer. It counts one more failure for each further timeout. The owner may still begin that checkpoint, so the machine
// goes on waiting for the answer.
func (m *Machine) unanswered() {
	t := m.schedule.triggering
	if t == nil || !m.reached(t.deadline) {
		return
	}
	cause := "not begun after " + m.policy.Timeout.String() + ": the owner waits for its store"
	if m.storeCause != "" {
		cause += ": " + m.storeCause
	}
	m.answer(t.caller, 0, ReasonExpired, cause)
	t.caller, t.deadline = 0, m.now.Add(m.policy.Timeout)
	m.decide(NotBegun{Reason: ReasonExpired, Cause: cause})
	m.failed(0, ReasonExpired, cause)
}

// savepointAnswered takes the owner's answer to a TriggerSavepoint.
func (m *Machine) savepointAnswered(e SavepointAnswered) {
	m.schedule.saving = max(0, m.schedule.saving-1)
	if e.Checkpoint != 0 {
		m.savepointBegun(e.Checkpoint)
	}
}

func (m *Machine) savepointBegun(id uint64) {
	if m.find(id) == nil {
		m.pending = append(m.pending, pending{id: id, savepoint: true, deadline: m.now.Add(m.policy.Timeout)})
	}
}

func (m *Machine) accepted(id uint64) {
	p := pending{id: id, deadline: m.now.Add(m.policy.Timeout)}
	if t := m.schedule.triggering; t != nil {
		p.caller, m.schedule.triggering = t.caller, nil
	}
	m.pending = append(m.pending, p)
	if m.phase != running {
		m.abort(&m.pending[len(m.pending)-1], ReasonFailover, m.cause)
	}
}

func (m *Machine) refused(e TriggerRefused) {
	t := m.schedule.triggering
	if t == nil {
		return
	}
	m.schedule.triggering = nil
	m.answer(t.caller, 0, e.Reason, e.Cause)
	m.failed(0, e.Reason, e.Cause)
}

func (m *Machine) declined(e Declined) {
	if p := m.find(e.Checkpoint); p != nil {
		p.declined = true
		m.abort(p, e.Reason, e.Cause)
	}
}

func (m *Machine) completed(id uint64) {
	m.failures.succeeded(id)
	m.schedule.completed = m.now
	if p, ok := m.remove(id); ok {
		m.answer(p.caller, id, "", "")
	}
}

func (m *Machine) aborted(e Aborted) {
	p, ok := m.remove(e.Checkpoint)
	if !ok {
		return
	}
	m.answer(p.caller, p.id, e.Reason, e.Cause)
	if p.savepoint && !p.declined { // only what a task says of a savepoint counts
		return
	}
	m.failed(p.id, e.Reason, e.Cause)
}

// abort asks the owner once to give p up. An unresolved one is past that.
func (m *Machine) abort(p *pending, r Reason, cause string) {
	if p.aborting || p.unresolved {
		return
	}
	p.aborting = true
	m.decide(Abort{Checkpoint: p.id, Reason: r, Cause: cause})
}

// expire aborts the pending checkpoints whose time is up.
func (m *Machine) expire() {
	for i := range m.pending {
		if p := &m.pending[i]; !p.copying && !p.deadline.After(m.now) {
			m.abort(p, ReasonExpired, "not complete after "+m.policy.Timeout.String())
		}
	}
}

// suspend stops triggering: what waits is answered, what is pending is given up.
func (m *Machine) suspend(cause string) {
	s := &m.schedule
	s.next = time.Time{}
	if s.triggering != nil {
		m.answer(s.triggering.caller, 0, ReasonSuspend, cause)
		s.triggering = &request{} // its answer may still come: it must not begin a checkpoint unseen
	}
	m.answerQueue(ReasonSuspend, cause)
	for i := range m.pending {
		m.abort(&m.pending[i], ReasonFailover, cause)
	}
}

// answerAll ends every wait, because nobody will report the outcome here any more.
func (m *Machine) answerAll(r Reason, cause string) {
	for _, p := range m.pending {
		m.answer(p.caller, p.id, r, cause)
	}
	if t := m.schedule.triggering; t != nil {
		m.answer(t.caller, 0, r, cause)
	}
	m.answerQueue(r, cause)
	m.pending, m.schedule = nil, schedule{}
}

// answerQueue drops what waits for its turn.
func (m *Machine) answerQueue(r Reason, cause string) {
	for _, q := range m.schedule.queue {
		m.answer(q.caller, 0, r, cause)
	}
	m.schedule.queue = nil
}

func (m *Machine) answer(caller, id uint64, r Reason, cause string) {
	if caller != 0 {
		m.decide(Answer{Caller: caller, Checkpoint: id, Reason: r, Cause: cause})
	}
}

func (m *Machine) find(id uint64) *pending {
	for i := range m.pending {
		if m.pending[i].id == id {
			return &m.pending[i]
		}
	}
	return nil
}

func (m *Machine) remove(id uint64) (pending, bool) {
	i := slices.IndexFunc(m.pending, func(p pending) bool { return p.id == id })
	if i < 0 {
		return pending{}, false
	}
	p := m.pending[i]
	m.pending = slices.Delete(m.pending, i, i+1)
	return p, true
}
