package client

import "time"

// Command is a request of a daemon to a worker: Start, Trigger, Complete, Abort, Cancel or Replaced. A later version
// may add more.
type Command interface{ command() }

// Start begins an attempt. The worker stops its running subtasks, fetches the assignment, restores, runs and reports
// RUNNING. Start may come twice.
type Start struct {
	Attempt, Epoch uint64
	// Restore is the checkpoint to restore; 0: begin empty.
	Restore uint64
	Roster  []RosterEntry
	// Config is the configuration of the attempt, every default filled in.
	Config *JobConfig
	// Ends: the job stops with the savepoint that is restored. The worker commits what it had prepared, reads nothing, and reports
	// FINISHED.
	Ends bool
}

// RosterEntry says where a subtask of the attempt runs.
type RosterEntry struct {
	Subtask         Subtask
	ExchangeAddress string
	Nonce           string
}

// Trigger asks the triggered subtasks of the process to take a checkpoint. It may come twice; the worker ignores it for
// a checkpoint that has begun.
type Trigger struct {
	Attempt, Epoch, Checkpoint uint64
	Time                       time.Time
	// Stops: it is a savepoint that stops the job. Sources read nothing after its barrier until it is complete or aborted.
	Stops bool
	// Drains, with Stops: before its part of the savepoint, each subtask does its end-of-data work, as if all input were read, and emits
	// what it holds. If the savepoint is aborted after that, the process reports ReportFailed.
	Drains bool
	// Kind is what a person asked for; else ConfiguredCheckpoint. Of a FullCheckpoint the daemon knows no file, so that Snapshot sends
	// all of them.
	Kind CheckpointKind
	// Savepoint: it is a savepoint. A later checkpoint that completes first does not end it.
	Savepoint bool
}

// Complete says that a checkpoint is complete and durable. A worker that does not run that attempt ignores it. It may
// come twice.
type Complete struct {
	Attempt, Epoch, Checkpoint uint64
	// Ends: the job stops with it. Once subtasks have committed it, they report FINISHED.
	Ends bool
}

// Abort says that a checkpoint will not complete. A worker that does not run that attempt ignores it.
type Abort struct {
	Attempt, Epoch, Checkpoint uint64
	// Reason is Flink's name of the reason.
	Reason string
	// LatestComplete is the newest complete checkpoint, which the worker may have missed; 0: none.
	LatestComplete uint64
}

// Cancel ends the process's work on the job, because the job has ended or, with StatusSuspended, because a person wants it to pause. It is
// the session's last command. Whoever attaches the job after StatusSuspended begins it again.
type Cancel struct {
	Status JobStatus
	Reason string
}

// Replaced says that another process runs these subtasks. The worker ends and does not register again. It is the
// session's last command.
type Replaced struct{}

func (Start) command()    {}
func (Trigger) command()  {}
func (Complete) command() {}
func (Abort) command()    {}
func (Cancel) command()   {}
func (Replaced) command() {}
