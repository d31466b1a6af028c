package client

import "time"

// Command is what a daemon asks of a worker: Start, Trigger, Complete, Abort, Cancel or Replaced. Sealed: there may be more.
type Command interface{ command() }

// Start begins an attempt: stop what runs, fetch the assignment, restore, run, report RUNNING. It may come twice.
type Start struct {
	Attempt, Epoch uint64
	// Restore is the checkpoint to restore; 0: begin empty.
	Restore uint64
	Roster  []RosterEntry
	// Config is the configuration of the attempt, every default filled in.
	Config *JobConfig
}

// RosterEntry says where a subtask of the attempt runs.
type RosterEntry struct {
	Subtask         Subtask
	ExchangeAddress string
	Nonce           string
}

// Trigger asks the triggered subtasks of the process to take a checkpoint. It may come twice: ignore it for one that has begun.
type Trigger struct {
	Attempt, Epoch, Checkpoint uint64
	Time                       time.Time
}

// Complete says that a checkpoint is complete and durable. Ignore it unless you run that attempt. It may come twice.
type Complete struct {
	Attempt, Epoch, Checkpoint uint64
}

// Abort says that a checkpoint will not complete. Ignore it unless you run that attempt.
type Abort struct {
	Attempt, Epoch, Checkpoint uint64
	// Reason is Flink's name of the reason.
	Reason string
	// LatestComplete is the newest complete checkpoint, which the worker may have missed; 0: none.
	LatestComplete uint64
}

// Cancel ends the process's work on the job: its status is terminal. It is the session's last command.
type Cancel struct {
	Status JobStatus
	Reason string
}

// Replaced: another process runs these subtasks; end, and do not register again. It is the session's last command.
type Replaced struct{}

func (Start) command()    {}
func (Trigger) command()  {}
func (Complete) command() {}
func (Abort) command()    {}
func (Cancel) command()   {}
func (Replaced) command() {}
