// Package retention decides which retained checkpoints are removed when a checkpoint completes or the job ends, and
// why.
//
// It owns these plans: pure functions that return a list with reasons. The owner carries the list out
// unchanged. It must not know the journal, storage, files or the code that carries out a plan.
package retention

// Checkpoint is one retained checkpoint.
type Checkpoint struct {
	ID uint64
	// Savepoint is kept until the user who asked for it removes it.
	Savepoint bool
	// Lent: another job has a pin on it. Hidden: it was removed while lent. Trashed: it was discarded; only a user can bring
	// it back or purge it. Keep: a user wants it kept.
	Lent, Hidden, Trashed, Keep bool
	// Imported: the files are another job's. The job needs it until it has a checkpoint of its own.
	Imported bool
}

// Action says what happens to a checkpoint.
type Action uint8

// The actions.
const (
	// Keep leaves the checkpoint as it is.
	Keep Action = iota
	// Hide removes the checkpoint for everybody except the jobs it is lent to; its files stay.
	Hide
	// Drop takes the checkpoint out of the job's state.
	Drop
	// Trash takes the checkpoint out of use. Until its time in the trash is over, a person can bring it back.
	Trash
)

// Decision says what happens to one checkpoint, and why.
type Decision struct {
	ID     uint64
	Action Action
	// Reason in a few words, for display.
	Reason string
}

// Policy is the value of Flink's execution.checkpointing.externalized-checkpoint-retention.
type Policy uint8

// The policies.
const (
	// Nothing: NO_EXTERNALIZED_CHECKPOINTS. No checkpoint outlives the job.
	Nothing Policy = iota
	// OnFailure: DELETE_ON_CANCELLATION. Checkpoints are kept only if the job failed.
	OnFailure
	// OnCancellation: RETAIN_ON_CANCELLATION. Checkpoints are kept if the job failed or was canceled.
	OnCancellation
)

// End says how a job ended.
type End uint8

// The ends.
const (
	Canceled End = iota
	Failed
	Finished
)

// AfterCompletion decides which checkpoints a new complete checkpoint subsumes: the newest number (at least 1) of
// ordinary checkpoints stay. The checkpoints are in ascending order and include the new one; the decisions are in the
// same order.
func AfterCompletion(checkpoints []Checkpoint, number uint32) []Decision {
	number = max(number, 1)
	newer := uint32(0)
	out := make([]Decision, len(checkpoints))
	for i := len(checkpoints) - 1; i >= 0; i-- {
		c := checkpoints[i]
		d, ordinary := special(c)
		switch {
		case c.Imported && !c.Hidden:
			d = drop(c, "imported, and the job has a checkpoint of its own")
		case ordinary:
			if newer++; newer > number {
				d = drop(c, "subsumed")
			} else {
				d = Decision{c.ID, Keep, "one of the newest"}
			}
		}
		out[i] = d
	}
	return out
}

// AfterEnd decides which checkpoints outlive the job. With trash, those that do not outlive it go into the trash.
func AfterEnd(checkpoints []Checkpoint, policy Policy, end End, trash bool) []Decision {
	keep := end == Failed && policy != Nothing || end == Canceled && policy == OnCancellation
	out := make([]Decision, len(checkpoints))
	for i, c := range checkpoints {
		d, ordinary := special(c)
		switch {
		case ordinary && keep:
			d = Decision{c.ID, Keep, "retained by the job's configuration"}
		case ordinary && trash:
			d = Decision{c.ID, Trash, "the job ended"}
		case ordinary:
			d = drop(c, "the job ended")
		}
		out[i] = d
	}
	return out
}

// special decides about the checkpoints that no policy applies to; for any other checkpoint it returns ordinary.
func special(c Checkpoint) (d Decision, ordinary bool) {
	switch {
	case c.Hidden && c.Lent:
		return Decision{c.ID, Keep, "hidden, lent"}, false
	case c.Hidden:
		return Decision{c.ID, Drop, "hidden, no longer lent"}, false
	case c.Trashed:
		return Decision{c.ID, Keep, "in the trash"}, false
	case c.Keep:
		return Decision{c.ID, Keep, "kept by a person"}, false
	case c.Savepoint:
		return Decision{c.ID, Keep, "a savepoint"}, false
	}
	return Decision{}, true
}

// Removed decides what becomes of a checkpoint that a person removes, or whose time in the trash is over.
func Removed(c Checkpoint) Decision { return drop(c, "removed") }

func drop(c Checkpoint, why string) Decision {
	if c.Lent {
		return Decision{c.ID, Hide, why + ", but lent"}
	}
	return Decision{c.ID, Drop, why}
}
