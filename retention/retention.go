// Package retention owns which retained checkpoints go when one completes or the job ends, and why: pure plans, facts in, a list
// with reasons out, which a dry run prints and the owner carries out as it is.
//
// It must not know the journal, storage, files or who carries its plans out.
package retention

// Checkpoint is one retained checkpoint.
type Checkpoint struct {
	ID uint64
	// Savepoint: a person's, kept until they say otherwise.
	Savepoint bool
	// Lent: another job has a pin on it. Hidden: disposed while lent. Trashed: discarded, and brought back or purged by
	// people only. Keep: a person wants it kept.
	Lent, Hidden, Trashed, Keep bool
}

// Action is what becomes of a checkpoint.
type Action uint8

// The actions.
const (
	// Keep leaves it as it is.
	Keep Action = iota
	// Hide drops it for everybody but those it is lent to; its files stay.
	Hide
	// Drop takes it out of the state.
	Drop
)

// Decision is what becomes of one checkpoint, and why.
type Decision struct {
	ID     uint64
	Action Action
	// Reason in a few words, for people.
	Reason string
}

// Policy is what Flink's execution.checkpointing.externalized-checkpoint-retention says.
type Policy uint8

// The policies.
const (
	// Nothing: NO_EXTERNALIZED_CHECKPOINTS, nothing outlives the job.
	Nothing Policy = iota
	// OnFailure: DELETE_ON_CANCELLATION, kept only if the job failed.
	OnFailure
	// OnCancellation: RETAIN_ON_CANCELLATION, kept if the job failed or was canceled.
	OnCancellation
)

// End is how a job ended.
type End uint8

// The ends.
const (
	Canceled End = iota
	Failed
	Finished
)

// AfterCompletion decides what a new complete checkpoint subsumes: the newest number (at least 1) of ordinary checkpoints stay.
// The checkpoints come in ascending order, the new one among them; the decisions come in that order.
func AfterCompletion(checkpoints []Checkpoint, number uint32) []Decision {
	number = max(number, 1)
	newer := uint32(0)
	out := make([]Decision, len(checkpoints))
	for i := len(checkpoints) - 1; i >= 0; i-- {
		c := checkpoints[i]
		d, ordinary := special(c)
		if ordinary {
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

// AfterEnd decides what outlives the job.
func AfterEnd(checkpoints []Checkpoint, policy Policy, end End) []Decision {
	keep := end == Failed && policy != Nothing || end == Canceled && policy == OnCancellation
	out := make([]Decision, len(checkpoints))
	for i, c := range checkpoints {
		d, ordinary := special(c)
		switch {
		case ordinary && keep:
			d = Decision{c.ID, Keep, "retained by the job's configuration"}
		case ordinary:
			d = drop(c, "the job ended")
		}
		out[i] = d
	}
	return out
}

// special decides about those that policy has no say in.
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

func drop(c Checkpoint, why string) Decision {
	if c.Lent {
		return Decision{c.ID, Hide, why + ", but lent"}
	}
	return Decision{c.ID, Drop, why}
}
