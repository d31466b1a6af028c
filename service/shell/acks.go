package shell

import (
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/service/owner"
)

// acceptedKept is the number of checkpoints whose accepted acknowledgements an owner remembers.
const acceptedKept = 16

// acceptedAcks are the acknowledgements that the owner has accepted, by checkpoint. A caller that lost the answer
// repeats the call under the same request id. It gets the same answer, even if the checkpoint has completed meanwhile.
type acceptedAcks struct {
	calls map[uint64]map[ackCall]owner.Subtasks // the subtasks that each call acknowledged
	order []uint64                              // ids of the checkpoints, the oldest first
}

// ackCall identifies a call of Acknowledge, so that its repetition is recognised.
type ackCall struct {
	attempt uint64
	request journal.Request
}

// has reports whether the call was accepted for all of the subtasks.
func (a *acceptedAcks) has(checkpoint uint64, c ackCall, subtasks owner.Subtasks) bool {
	return !subtasks.IsEmpty() && subtasks.In(a.calls[checkpoint][c])
}

// add remembers that a call was accepted for subtasks.
func (a *acceptedAcks) add(checkpoint uint64, c ackCall, subtasks owner.Subtasks) {
	if a.calls == nil {
		a.calls = map[uint64]map[ackCall]owner.Subtasks{}
	}
	if a.calls[checkpoint] == nil {
		a.calls[checkpoint] = map[ackCall]owner.Subtasks{}
		if a.order = append(a.order, checkpoint); len(a.order) > acceptedKept {
			delete(a.calls, a.order[0])
			a.order = slices.Clone(a.order[1:])
		}
	}
	a.calls[checkpoint][c] = a.calls[checkpoint][c].Or(subtasks)
}

// drop forgets the calls for a checkpoint that was aborted.
func (a *acceptedAcks) drop(checkpoint uint64) {
	delete(a.calls, checkpoint)
	a.order = slices.DeleteFunc(a.order, func(id uint64) bool { return id == checkpoint })
}
