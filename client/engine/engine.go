package engine

import (
	"context"
	"time"

	"github.com/ckptd/ckptd/client"
)

// Engine runs subtasks of a job in this process. The loop makes one call at a time.
type Engine interface {
	// Restore begins an attempt with the state of a.States, or empty. When it has returned nil, the engine processes
	// records, and the loop reports that the subtasks run. After an error the loop reports the failure; the owner then
	// begins the next attempt or ends the job. ctx ends when the attempt is over.
	Restore(ctx context.Context, a *Attempt) error
	// Snapshot returns frozen copies of the state of the triggered subtasks at one moment, for the loop to upload while
	// the engine goes on. Subtasks that it leaves out answer later by Attempt.Submit. After an error the loop declines
	// the checkpoint; the attempt continues. ctx ends when the attempt is over.
	Snapshot(ctx context.Context, c Checkpoint) ([]client.SubtaskSnapshot, error)
	// Committed says that the checkpoint is complete and durable. A sink commits everything that it has prepared for this
	// checkpoint and for earlier ones. Earlier checkpoints end with it unless they have ended before; savepoints do not. After an error the loop reports a
	// failure: the next attempt restores what was prepared, and commits it in Restore. ctx ends with Run's.
	Committed(ctx context.Context, c Checkpoint) error
	// Aborted says that the checkpoint will never be complete. The engine releases its copies. What a sink has prepared
	// belongs to the next checkpoint and stays. Of a savepoint it may also mean that it was sent: a sink commits nothing of it.
	Aborted(ctx context.Context, c Checkpoint)
	// Stopped ends the attempt. It is called once after each Restore, even a failed one. The engine stops processing
	// before it returns. No upload reads its copies any more.
	Stopped(ctx context.Context, s Stop)
}

// Checkpoint names a checkpoint. A barrier between processes carries it.
type Checkpoint struct {
	ID, Epoch uint64
	// Time is when the checkpoint was triggered; zero in Committed and Aborted.
	Time time.Time
	// Stops: it is a savepoint that stops the job. Sources read nothing more until Committed or Aborted; what they read nevertheless is
	// never committed. It is set in Snapshot.
	Stops bool
	// Drains, with Stops: Snapshot does the end-of-data work first, and emits what the subtasks hold. If the savepoint is aborted then, the
	// engine fails the attempt.
	Drains bool
	// Kind is what a person asked for: client.ConfiguredCheckpoint, if nobody did. Of a client.FullCheckpoint everything is sent anew,
	// whatever the engine does. It is unknown in Committed and Aborted, and where a barrier brought the checkpoint.
	Kind client.CheckpointKind
	// Savepoint: it is a savepoint. A later checkpoint that is complete does not end it.
	Savepoint bool
}

// Stop says why an attempt is over.
type Stop struct {
	Reason StopReason
	// Status and Cause are the end of the job, with Ended.
	Status client.JobStatus
	Cause  string
}

// StopReason is the kind of a Stop.
type StopReason uint8

// The reasons.
const (
	// Restarting: the next attempt follows with Restore.
	Restarting StopReason = iota + 1
	// Ended: the job has ended.
	Ended
	// Replaced: another process runs the subtasks.
	Replaced
	// Leaving: Run's context has ended, or the session broke for good.
	Leaving
)

// String names the reason.
func (r StopReason) String() string {
	return map[StopReason]string{Restarting: "restarting", Ended: "the job has ended", Replaced: "replaced", Leaving: "leaving"}[r]
}
