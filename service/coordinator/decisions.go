package coordinator

import "time"

// Decision is what the machine wants done. The shell carries decisions out in their order.
type Decision interface{ decision() }

// Trigger: begin a checkpoint. Answered by TriggerAccepted or TriggerRefused; there is only one without an answer at a time.
type Trigger struct {
	// Manual says that a person asked for it.
	Manual bool
	Kind   Kind
}

// TriggerSavepoint: begin the savepoint that Caller wants. Answered by SavepointAnswered.
type TriggerSavepoint struct{ Caller uint64 }

// Abort: give a pending checkpoint up. The owner ignores it while the checkpoint is unresolved. Else the owner answers Aborted.
type Abort struct {
	Checkpoint uint64
	Reason     Reason
	Cause      string
}

// NotBegun: the owner has not answered a Trigger within one checkpoint timeout. The machine counts a failed checkpoint. The
// owner's answer may still come.
type NotBegun struct {
	Reason Reason
	Cause  string
}

// Answer tells a caller of Request how it went, or a caller of SavepointRequest why no savepoint begins.
type Answer struct {
	Caller uint64
	// Checkpoint is the id, if there ever was one.
	Checkpoint uint64
	// Reason is empty if the checkpoint is complete.
	Reason Reason
	Cause  string
}

// Failover: the attempt has failed; StartAttempt follows at the given time. Its pending checkpoints are aborted before.
type Failover struct {
	Attempt uint64
	Cause   string
	At      time.Time
}

// StartAttempt: begin the attempt after Attempt as soon as all subtasks have a worker. The owner answers AttemptStarting. If the
// journal already names a later attempt than Attempt, the owner begins none.
type StartAttempt struct {
	Attempt uint64
	Cause   string
}

// FailJob: the restart strategy allows no further attempt; the job is FAILED. Terminal comes back.
type FailJob struct{ Cause string }

// Ping: ask all workers for a sign of life.
type Ping struct{}

// WorkerLost: a worker did not come back, or said nothing for too long. Forget it and end its stream.
type WorkerLost struct {
	Worker string
	Cause  string
}

// RegistrationsExpired: not all workers of the attempt that a new owner found have come back in time.
type RegistrationsExpired struct{ Attempt uint64 }

func (Trigger) decision()              {}
func (TriggerSavepoint) decision()     {}
func (Abort) decision()                {}
func (NotBegun) decision()             {}
func (Answer) decision()               {}
func (Failover) decision()             {}
func (StartAttempt) decision()         {}
func (FailJob) decision()              {}
func (Ping) decision()                 {}
func (WorkerLost) decision()           {}
func (RegistrationsExpired) decision() {}

func (m *Machine) decide(d Decision) { m.out = append(m.out, d) }

func (m *Machine) reached(t time.Time) bool { return !t.IsZero() && !t.After(m.now) }
