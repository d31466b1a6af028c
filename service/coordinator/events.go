package coordinator

// Event is what the shell tells the machine. Checkpoints are named by their id, workers by the nonce of their process.
type Event interface{ event() }

// Attached: this daemon became the job's owner. If the journal has an attempt, its workers get some time to register.
type Attached struct {
	// Attempt is the one in the journal. 0: the job has none yet, and the machine waits for no worker.
	Attempt uint64
}

// AttemptStarting: an attempt has begun, or was adopted. Its workers are not known to run yet. Whatever ran before is over.
type AttemptStarting struct {
	Attempt uint64
	// Workers are the nonces of the processes that run it: the loss of one of them ends the attempt.
	Workers []string
}

// Configured: the attempt that begins or was adopted has this configuration. It counts from now on.
type Configured struct{ Policy Policy }

// NewAttempt: the next attempt is to begin at once. An engine that schedules by itself asks for it, or a worker that registered
// with another plan. The restart strategy does not count it.
type NewAttempt struct {
	// Attempt is the attempt to replace. If it is not the current one, the event is ignored.
	Attempt uint64
	Cause   string
}

// AllRunning: all subtasks of the attempt have reported that they run.
type AllRunning struct{ Attempt uint64 }

// AllAtEnd: all sources have read all their input. The machine triggers one checkpoint at once, so that the sinks commit their
// last output.
type AllAtEnd struct{ Attempt uint64 }

// Backlog: a source of the attempt works off a backlog, or none does any more.
type Backlog struct {
	Attempt uint64
	On      bool
}

// SubtasksFinished: a subtask has finished for good, in Attempt.
type SubtasksFinished struct{ Attempt uint64 }

// Cleaning: so many checkpoints that left the job wait to be deleted. While a delete that failed is repeated, none counts.
type Cleaning struct{ Checkpoints int }

// Request: somebody wants a checkpoint now. It is answered by exactly one Answer that carries the same caller.
type Request struct {
	// Caller is the shell's number of the waiting caller, never 0.
	Caller uint64
	Kind   Kind
}

// SavepointRequest: somebody wants a savepoint now. It is answered by exactly one TriggerSavepoint or Answer that carries the same
// caller.
type SavepointRequest struct {
	// Caller is the shell's number of the waiting caller, never 0.
	Caller uint64
	// Periodic: a clock wants it.
	Periodic bool
}

// SavepointAnswered answers a TriggerSavepoint: the owner has begun a savepoint, or said why not.
type SavepointAnswered struct {
	// Checkpoint is the savepoint if it is pending now; 0: none is.
	Checkpoint uint64
}

// TriggerAccepted answers a Trigger: the owner has begun the checkpoint.
type TriggerAccepted struct{ Checkpoint uint64 }

// TriggerRefused answers a Trigger: there is no checkpoint.
type TriggerRefused struct {
	Reason Reason
	Cause  string
}

// Declined: a subtask could not take part in a checkpoint.
type Declined struct {
	Checkpoint uint64
	Reason     Reason
	Cause      string
}

// Unresolved: the owner has issued a checkpoint's entry and cannot abort it any more until it knows the outcome. Completed or
// Aborted follows.
type Unresolved struct{ Checkpoint uint64 }

// SavepointBegun: the owner has begun a savepoint.
type SavepointBegun struct{ Checkpoint uint64 }

// SavepointAcknowledged: all subtasks have acknowledged a savepoint. Its files are being copied: that takes as long as it takes, and
// checkpoints go on meanwhile.
type SavepointAcknowledged struct{ Checkpoint uint64 }

// SavepointDone: a savepoint has ended, and was not aborted. It is no checkpoint that a job falls back to: it ends no row of failures.
type SavepointDone struct{ Checkpoint uint64 }

// StoreFailed: the store did not take or show an entry of the journal. Cause is its error; empty: the store answers again.
type StoreFailed struct{ Cause string }

// Completed: a checkpoint is complete.
type Completed struct{ Checkpoint uint64 }

// Aborted: a checkpoint will not complete, by our decision or the owner's own. Only here failures are counted.
type Aborted struct {
	Checkpoint uint64
	Reason     Reason
	Cause      string
}

// WorkerUp: a process has registered, or registered again.
type WorkerUp struct{ Worker string }

// WorkerGone: a process's stream broke. It may come back.
type WorkerGone struct{ Worker string }

// WorkerLeft: a process said goodbye. It stops in peace and does not come back. The restart strategy does not count it.
type WorkerLeft struct{ Worker string }

// WorkerFinished: all subtasks of a process have finished for good, in Attempt. The attempt goes on without the process.
type WorkerFinished struct {
	Worker  string
	Attempt uint64
}

// WorkerDead: a process will not come back, because another process took its subtasks.
type WorkerDead struct {
	Worker string
	Cause  string
}

// WorkerFailed: a worker reported that a subtask of the attempt failed. The process itself may live on.
type WorkerFailed struct {
	Worker  string
	Attempt uint64
	Cause   string
}

// Alive: a worker has made a call of any kind.
type Alive struct{ Worker string }

// Fenced: another daemon owns the job.
type Fenced struct{}

// Terminal: the journal says that the job is canceled, failed or finished.
type Terminal struct{}

// Tick: nothing happened, but NextDeadline has come.
type Tick struct{}

func (Attached) event()              {}
func (AttemptStarting) event()       {}
func (NewAttempt) event()            {}
func (Configured) event()            {}
func (AllRunning) event()            {}
func (AllAtEnd) event()              {}
func (Backlog) event()               {}
func (SubtasksFinished) event()      {}
func (Cleaning) event()              {}
func (Request) event()               {}
func (SavepointRequest) event()      {}
func (SavepointAnswered) event()     {}
func (TriggerAccepted) event()       {}
func (TriggerRefused) event()        {}
func (Declined) event()              {}
func (Unresolved) event()            {}
func (StoreFailed) event()           {}
func (Completed) event()             {}
func (Aborted) event()               {}
func (WorkerUp) event()              {}
func (WorkerGone) event()            {}
func (WorkerLeft) event()            {}
func (WorkerFinished) event()        {}
func (WorkerDead) event()            {}
func (WorkerFailed) event()          {}
func (Alive) event()                 {}
func (Fenced) event()                {}
func (Terminal) event()              {}
func (SavepointBegun) event()        {}
func (SavepointAcknowledged) event() {}
func (SavepointDone) event()         {}
func (Tick) event()                  {}
