package shell

import (
	"maps"
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/service/owner"
)

// acceptedKept is the number of checkpoints whose accepted acknowledgements an owner remembers.
const acceptedKept = 16

// acceptedAcks are the acknowledgements that the owner has accepted. A caller that lost the answer repeats the call under
// the same request id. It gets the same answer, even if the checkpoint has completed meanwhile.
type acceptedAcks struct {
	calls map[ackCall]owner.Subtasks // the subtasks that each call acknowledged
	order []uint64                   // ids of the checkpoints, the oldest first
}

// ackCall identifies a call of Acknowledge, so that its repetition is recognised.
type ackCall struct {
	checkpoint, attempt uint64
	request             journal.Request
}

// has reports whether the call was accepted for all of the subtasks.
func (a *acceptedAcks) has(c ackCall, subtasks owner.Subtasks) bool {
	return !subtasks.IsEmpty() && subtasks.In(a.calls[c])
}

// add remembers that a call was accepted for subtasks.
func (a *acceptedAcks) add(c ackCall, subtasks owner.Subtasks) {
	if a.calls == nil {
		a.calls = map[ackCall]owner.Subtasks{}
	}
	if !slices.Contains(a.order, c.checkpoint) {
		if len(a.order) == acceptedKept {
			a.drop(a.order[0])
		}
		a.order = append(a.order, c.checkpoint)
	}
	a.calls[c] = a.calls[c].Or(subtasks)
}

// drop forgets the calls for a checkpoint.
func (a *acceptedAcks) drop(checkpoint uint64) {
	if i := slices.Index(a.order, checkpoint); i >= 0 {
		a.order = slices.Delete(a.order, i, i+1)
		maps.DeleteFunc(a.calls, func(c ackCall, _ owner.Subtasks) bool { return c.checkpoint == checkpoint })
	}
}
