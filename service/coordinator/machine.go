package coordinator

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Machine is the coordinator of one job for one owner's life. It is not safe for concurrent use. Equal seeds and equal
// sequences of Step give equal decisions.
type Machine struct {
	policy Policy
	times  Times
	random rand.PCG
	now    time.Time // of the last Step; never goes back
	out    []Decision

	phase    phase
	attempt  uint64
	cause    string          // why the attempt before ended
	roster   map[string]bool // the processes of the attempt
	finished map[string]bool // those whose subtasks have all finished in the attempt
	partly   bool            // a subtask has finished in the attempt
	backlog  bool            // a source of the attempt works off a backlog
	cleaning int             // checkpoints that wait to be deleted
	held     time.Time       // until then nothing begins, because too many are; zero: it may begin
	restarts restarts

	schedule schedule
	pending  []pending // in the order of their triggers
	failures failures
	workers  []worker // in the order of their registrations

	restartAt      time.Time // in phase backoff only
	registrationAt time.Time // zero: nobody is waited for
	pingAt         time.Time // zero: nobody to ping

	storeCause string // the store's last error for the journal; empty: the store answers
}

// New makes the machine of a job. The seed spreads the first checkpoints of jobs that start together.
func New(p Policy, t Times, seed uint64) *Machine {
	p = p.normalized()
	return &Machine{policy: p, times: t.normalized(), random: *rand.NewPCG(seed, 0), failures: failures{tolerable: p.TolerableFailures},
		finished: map[string]bool{}}
}

// Step takes an event that happened at now and returns the decisions. A time that goes back counts as no progress of time. The
// event is handled before anything that is due: an event that arrived in time must not lose against a faster timer.
func (m *Machine) Step(now time.Time, e Event) []Decision {
	if now.Before(m.now) {
		now = m.now
	}
	m.overslept(now)
	m.now = now
	if m.phase == ended {
		m.afterEnd(e)
	} else {
		m.handle(e)
		m.settle(e)
		m.due()
		m.trigger()
	}
	out := m.out
	m.out = nil
	return out
}

// handle is what events do to an attempt and its workers.
func (m *Machine) handle(e Event) {
	switch e := e.(type) {
	case Attached:
		if e.Attempt > 0 && m.phase == suspended {
			m.attempt, m.registrationAt = e.Attempt, m.now.Add(m.times.Registration)
		}
	case Configured:
		if e.Policy.Restart != m.policy.Restart {
			m.restarts = restarts{}
		}
		m.policy = e.Policy.normalized()
		m.failures.tolerable = m.policy.TolerableFailures
	case AttemptStarting:
		m.attemptStarting(e)
	case NewAttempt:
		m.newAttempt(e)
	case AllRunning:
		if m.phase == starting && e.Attempt == m.attempt {
			m.phase = running
			m.startTimer()
		}
	case AllAtEnd:
		if e.Attempt == m.attempt && m.policy.Interval > 0 && m.notAllRunning() == "" {
			m.enqueue(request{})
		}
	case Backlog:
		m.backlogChanged(e)
	case SubtasksFinished:
		m.partlyFinished(e)
	case Cleaning:
		m.cleaned(e.Checkpoints)
	case WorkerUp:
		m.workerUp(e.Worker)
	case WorkerGone:
		m.workerGone(e.Worker)
	case WorkerDead:
		m.workerDead(e)
	case WorkerLeft:
		m.workerLeft(e)
	case WorkerFinished:
		if e.Attempt == m.attempt {
			m.finished[e.Worker] = true
		}
	case WorkerFailed:
		m.alive(e.Worker)
		if e.Attempt == m.attempt {
			m.failAttempt(e.Cause)
		}
	case Alive:
		m.alive(e.Worker)
	case StoreFailed:
		m.storeCause = e.Cause
	}
}

// settle is what events do to checkpoints and their callers.
func (m *Machine) settle(e Event) {
	switch e := e.(type) {
	case Request:
		m.requested(e)
	case SavepointRequest:
		m.savepointRequested(e)
	case SavepointAnswered:
		m.savepointAnswered(e)
	case TriggerAccepted:
		m.accepted(e.Checkpoint)
	case TriggerRefused:
		m.refused(e)
	case Declined:
		m.declined(e)
	case SavepointBegun:
		m.savepointBegun(e.Checkpoint)
	case SavepointAcknowledged:
		if p := m.find(e.Checkpoint); p != nil {
			p.copying = true
		}
	case SavepointDone:
		m.remove(e.Checkpoint)
	case Unresolved:
		if p := m.find(e.Checkpoint); p != nil {
			p.unresolved = true
		}
	case Completed:
		m.completed(e.Checkpoint)
	case Aborted:
		m.aborted(e)
	case Fenced:
		m.end("another daemon owns the job; it knows whether the checkpoint is complete")
	case Terminal:
		m.end("the job has ended")
	}
}

// afterEnd answers who comes too late.
func (m *Machine) afterEnd(e Event) {
	const gone = "the job is not run from here any more"
	switch e := e.(type) {
	case Request:
		m.answer(e.Caller, 0, ReasonShutdown, gone)
	case SavepointRequest:
		m.answer(e.Caller, 0, ReasonShutdown, gone)
	}
}

// due does what the time has come for.
func (m *Machine) due() {
	if m.reached(m.registrationAt) {
		m.registrationAt = time.Time{}
		m.phase = asked
		m.decide(RegistrationsExpired{Attempt: m.attempt})
	}
	m.overdue()
	if m.reached(m.pingAt) {
		m.pingAt = m.now.Add(m.times.Ping)
		m.decide(Ping{})
	}
	if m.reached(m.held) {
		m.held = time.Time{}
	}
	m.expire()
	m.unanswered()
	if m.reached(m.restartAt) {
		m.restartAt = time.Time{}
		m.phase = asked
		m.decide(StartAttempt{Attempt: m.attempt, Cause: m.cause})
	}
	if m.reached(m.schedule.next) {
		m.periodic()
	}
}

// NextDeadline is when the machine wants a Tick if nothing happens before; false: never. It lies after the last Step.
func (m *Machine) NextDeadline() (time.Time, bool) {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	sooner(m.registrationAt)
	sooner(m.restartAt)
	sooner(m.pingAt)
	sooner(m.schedule.next)
	sooner(m.held)
	if t := m.schedule.triggering; t != nil {
		sooner(t.deadline)
	}
	for _, p := range m.pending {
		if !p.aborting && !p.unresolved && !p.copying {
			sooner(p.deadline)
		}
	}
	for _, w := range m.workers {
		at, _ := m.lostAt(w)
		sooner(at)
	}
	return next, !next.IsZero()
}

// attemptStarting begins anew, whoever decided on the attempt.
func (m *Machine) attemptStarting(e AttemptStarting) {
	if m.phase == failing {
		return
	}
	m.suspend(fmt.Sprintf("attempt %d begins", e.Attempt))
	// The owner begins no attempt before it has answered what it was asked.
	m.schedule.triggering = nil
	if e.Attempt != m.attempt {
		clear(m.finished)
		m.partly, m.backlog = false, false
	}
	m.attempt, m.phase = e.Attempt, starting
	m.restartAt, m.registrationAt = time.Time{}, time.Time{}
	m.roster = make(map[string]bool, len(e.Workers))
	for _, w := range e.Workers {
		m.roster[w] = true
	}
}

// newAttempt asks for the next attempt without a failure.
func (m *Machine) newAttempt(e NewAttempt) {
	if e.Attempt != m.attempt || m.phase == asked || m.phase == failing {
		return
	}
	m.cause, m.phase = e.Cause, asked
	m.restartAt, m.registrationAt = time.Time{}, time.Time{}
	m.suspend(e.Cause)
	m.decide(StartAttempt{Attempt: m.attempt, Cause: e.Cause})
}

// failed counts a failed checkpoint, and fails the attempt if there were too many.
func (m *Machine) failed(id uint64, r Reason, cause string) {
	if m.failures.failed(id, r) {
		m.failAttempt(fmt.Sprintf("more checkpoints than the tolerable %d failed in a row, the last with %s: %s", m.policy.TolerableFailures, r, cause))
	}
}

// failAttempt ends the attempt and lets the restart strategy decide. An attempt fails once. One that a new owner found can fail, too,
// before its workers have all come back.
func (m *Machine) failAttempt(cause string) {
	found := m.phase == suspended && m.attempt > 0
	if m.phase != starting && m.phase != running && !found {
		return
	}
	m.cause, m.registrationAt = cause, time.Time{}
	if !m.restarts.may(m.policy.Restart, m.now) {
		m.phase = failing
		m.suspend(cause)
		m.decide(FailJob{Cause: cause})
		return
	}
	m.phase = backoff
	m.suspend(cause)
	m.restartAt = m.restarts.next(m.policy.Restart, m.now, &m.random)
	m.decide(Failover{Attempt: m.attempt, Cause: cause, At: m.restartAt})
}

// end stops everything for good.
func (m *Machine) end(cause string) {
	m.phase = ended
	m.answerAll(ReasonShutdown, cause)
	m.workers, m.roster, m.finished = nil, nil, nil
	m.restartAt, m.registrationAt, m.pingAt, m.held = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// State is what people may want to know of a machine.
type State struct {
	// Phase in a word: suspended, starting, running, backoff, asked, failing, ended.
	Phase string
	// Attempt is the one that Phase is about; 0: none yet.
	Attempt uint64
	// ConsecutiveFailures counts the failed checkpoints since the last completed one, as Flink counts them.
	ConsecutiveFailures int
	// Restarts counts the failures that the restart strategy has answered with a restart. A quiet time sets the count of
	// the exponential delay to zero.
	Restarts int
	// Queued is how many requests wait for their turn.
	Queued int
	// NextPeriodic is when the next periodic checkpoint is planned; zero: not planned.
	NextPeriodic time.Time
	// RestartAt is when the next attempt begins; zero: none is planned.
	RestartAt time.Time
}

// State describes the machine as it is.
func (m *Machine) State() State {
	return State{
		Phase:               m.phase.String(),
		Attempt:             m.attempt,
		ConsecutiveFailures: m.failures.consecutive,
		Restarts:            m.restarts.used,
		Queued:              len(m.schedule.queue),
		NextPeriodic:        m.schedule.next,
		RestartAt:           m.restartAt,
	}
}
