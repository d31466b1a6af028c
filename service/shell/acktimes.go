package shell

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/owner"
)

// ackTimes is when the subtasks of a plan have acknowledged one checkpoint. Of each operator it keeps the last acknowledgement only.
type ackTimes struct {
	plan  *journal.Plan
	acked owner.Subtasks
	last  []lastAck // by operator; nil: none has acknowledged
	after time.Duration
}

// lastAck is the last acknowledgement of an operator. after counts from the trigger.
type lastAck struct {
	subtask uint32
	after   time.Duration
	any     bool
}

// add notes that subtasks have acknowledged. What they have acknowledged before does not change.
func (a *ackTimes) add(subtasks owner.Subtasks, after time.Duration) {
	if a.last == nil {
		a.last = make([]lastAck, len(a.plan.Operators))
	}
	fresh := subtasks.Minus(a.acked)
	first := uint32(0)
	for i := range a.plan.Operators {
		n := a.plan.Operators[i].Parallelism
		for s := range fresh.All() {
			if uint32(s) >= first && uint32(s) < first+n {
				a.last[i] = lastAck{uint32(s) - first, after, true}
			}
		}
		first += n
	}
	if !fresh.IsEmpty() {
		a.acked, a.after = a.acked.Or(fresh), after
	}
}

// describe adds the acknowledgements to a record.
func (a *ackTimes) describe(r *ckptdv1.CheckpointRecord) {
	if a.plan == nil {
		return
	}
	r.Subtasks, r.Acknowledged, r.AcknowledgedAfter = a.plan.Subtasks(), uint32(a.acked.Len()), durationpb.New(a.after)
	r.OperatorsOmitted = 0
	r.Operators = make([]*ckptdv1.OperatorRecord, len(a.plan.Operators))
	first := uint32(0)
	for i := range a.plan.Operators {
		op := &a.plan.Operators[i]
		out := &ckptdv1.OperatorRecord{OperatorId: op.ID, Subtasks: op.Parallelism}
		of := incremental.Range[owner.Subtask](first + op.Parallelism).Minus(incremental.Range[owner.Subtask](first))
		missing := of.Minus(a.acked)
		out.Acknowledged = op.Parallelism - uint32(missing.Len())
		for s := range missing.All() {
			index := uint32(s) - first
			out.MissingSubtask = &index
			break
		}
		if a.last != nil && a.last[i].any {
			out.SlowestSubtask, out.SlowestAfter = a.last[i].subtask, durationpb.New(a.last[i].after)
		}
		r.Operators[i] = out
		first += op.Parallelism
	}
}
