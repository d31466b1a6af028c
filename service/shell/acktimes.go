package shell

import (
	"iter"
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
	for i, index := range perOperator(a.plan, fresh) {
		a.last[i] = lastAck{index, after, true}
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
	for i := range a.plan.Operators {
		op := &a.plan.Operators[i]
		out := &ckptdv1.OperatorRecord{OperatorId: op.ID, Subtasks: op.Parallelism, Acknowledged: op.Parallelism}
		if a.last != nil && a.last[i].any {
			out.SlowestSubtask, out.SlowestAfter = a.last[i].subtask, durationpb.New(a.last[i].after)
		}
		r.Operators[i] = out
	}
	for i, index := range perOperator(a.plan, incremental.Range[owner.Subtask](a.plan.Subtasks()).Minus(a.acked)) {
		out := r.Operators[i]
		if out.Acknowledged--; out.MissingSubtask == nil {
			out.MissingSubtask = &index
		}
	}
}

// perOperator yields subtasks in ascending order: the position of the operator in the plan, and the index in the operator.
func perOperator(plan *journal.Plan, subtasks owner.Subtasks) iter.Seq2[int, uint32] {
	return func(yield func(int, uint32) bool) {
		i, first := 0, uint32(0)
		for s := range subtasks.All() {
			for uint32(s)-first >= plan.Operators[i].Parallelism {
				first += plan.Operators[i].Parallelism
				i++
			}
			if !yield(i, uint32(s)-first) {
				return
			}
		}
	}
}
