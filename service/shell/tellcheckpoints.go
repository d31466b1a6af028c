package shell

import (
	"fmt"
	"time"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// tellCheckpoint handles the Tells about one checkpoint.
func (j *Job) tellCheckpoint(op *owner.Op) {
	switch op.Kind {
	case owner.TellTrigger:
		if op.Repeated {
			if c := j.contents[op.ID]; c != nil {
				j.workers.send(op.Worker, api.TriggerOut(op, c.triggeredAt, j.stopsWith(op.ID)))
			}
			return
		}
		now := time.Now()
		j.contents[op.ID] = newContent(now, j.told().Plan, j.kindOf(op.ID, j.manual))
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_TRIGGERED, &ckptdv1.JobEvent{CheckpointId: op.ID, Attempt: op.Attempt})
		j.workers.send(op.Worker, api.TriggerOut(op, now, j.stopsWith(op.ID)))
		j.answer(op)
		if op.Savepoint != nil {
			j.coordinate(coordinator.SavepointBegun{Checkpoint: op.ID})
		} else {
			j.coordinate(coordinator.TriggerAccepted{Checkpoint: op.ID})
		}
	case owner.TellTriggerRefused:
		j.env.Metrics.Refused(api.ReasonOut(op.Reason))
		j.recordRefused()
		j.log.Log(j.ops, levelOfAbort(api.ReasonOut(op.Reason)), "a checkpoint was refused", "reason", api.ReasonOut(op.Reason), "text", api.ReasonText(op.Reason))
		j.answer(op)
		j.coordinate(coordinator.TriggerRefused{Reason: api.ReasonOut(op.Reason), Cause: api.ReasonText(op.Reason)})
	case owner.TellUnresolved:
		j.coordinate(coordinator.Unresolved{Checkpoint: op.ID})
	case owner.TellComplete:
		j.completed(op)
	case owner.TellAbort:
		adopted := op.Repeated && op.Worker == 0
		for id := op.ID; id <= max(op.ID, op.Last); id++ {
			// The range also holds ids that an earlier owner reserved and never triggered. Only the processes know which
			// ids it triggered.
			if !adopted || j.workers.begun(id) {
				j.aborted(op, id)
			}
		}
	}
}

// stopsWith tells how a savepoint stops the job when it is done.
func (j *Job) stopsWith(id uint64) journal.Stop {
	saved, _ := j.told().Savepoint(id)
	return saved.Stop
}

// endsWith tells whether the job stops with a savepoint that is done.
func (j *Job) endsWith(id uint64) bool {
	head := j.told()
	return head.Status == journal.StatusStopping && head.Restorable() == id
}

// completed tells workers, events, metrics and the coordinator that a checkpoint has completed.
func (j *Job) completed(op *owner.Op) {
	j.workers.send(op.Worker, &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Complete{Complete: &ckptdv1.Complete{
		Attempt: op.Attempt, Epoch: j.epoch(), CheckpointId: op.ID, Ends: j.endsWith(op.ID),
	}}})
	if op.Repeated {
		return
	}
	content := j.contents[op.ID]
	j.recordCompleted(op.ID, content)
	delete(j.contents, op.ID)
	j.uploads.forget(op.ID)
	if c, ok := j.told().Checkpoint(op.ID); ok {
		if content != nil {
			// The entry was written before it was won. Only now is the time known that the commit took.
			c.DurationMillis = max(c.DurationMillis, uint64(time.Since(content.triggeredAt).Milliseconds()))
		}
		j.env.Metrics.Completed(&c)
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_COMPLETED, &ckptdv1.JobEvent{CheckpointId: op.ID, Attempt: op.Attempt, Checkpoint: catalog.Checkpoint(j.id, &c)})
	}
	j.coordinate(coordinator.Completed{Checkpoint: op.ID})
	j.disposeClaimed()
}

// aborted tells workers, events, metrics and the coordinator that a checkpoint was aborted. The coordinator's reason,
// if it has one, replaces the owner machine's.
func (j *Job) aborted(op *owner.Op, id uint64) {
	reason, cause := api.ReasonOut(op.Reason), api.ReasonText(op.Reason)
	if c := j.contents[id]; c != nil && c.abort != "" {
		reason, cause = c.abort, c.abortCause
	} else if c != nil && c.unwritten != nil {
		cause = fmt.Sprintf("%s: %v", cause, c.unwritten)
	}
	if c := j.contents[id]; !op.Repeated && c != nil || op.Repeated && op.Worker == 0 { // repeated: an earlier owner has triggered it
		j.recordFailed(id, c, reason, cause)
	}
	delete(j.contents, id)
	j.uploads.forget(id)
	j.accepted.drop(id)
	j.workers.send(op.Worker, &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Abort{Abort: &ckptdv1.Abort{
		Attempt: op.Attempt, Epoch: j.epoch(), CheckpointId: id, Reason: string(reason), LatestCompleteId: op.Latest,
	}}})
	if op.Repeated {
		return
	}
	if j.env.InMemory {
		j.sweeps.within(time.Now().Add(memorySweep))
	}
	j.env.Metrics.Aborted(reason)
	j.eventAt(levelOfAbort(reason), ckptdv1.JobEventKind_JOB_EVENT_KIND_ABORTED, &ckptdv1.JobEvent{CheckpointId: id, Attempt: op.Attempt, Text: fmt.Sprintf("%s: %s", reason, cause)})
	j.coordinate(coordinator.Aborted{Checkpoint: id, Reason: reason, Cause: cause})
}
