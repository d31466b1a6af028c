package service

import (
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// tell passes a Tell of the owner machine on to workers, callers and the coordinator.
func (j *job) tell(op *owner.Op) {
	switch op.Kind {
	case owner.TellAttached, owner.TellRedirect, owner.TellAttachRefused, owner.TellFenced, owner.TellReleased, owner.TellDegraded:
		j.tellOwnership(op)
	case owner.TellChange:
		j.changing(op)
	case owner.TellStart, owner.TellReplaced, owner.TellReregister, owner.TellPlanRefused:
		j.tellWorker(op)
	case owner.TellAttempt, owner.TellAttempted, owner.TellAllRunning, owner.TellEnded:
		j.tellAttempt(op)
	case owner.TellTrigger, owner.TellTriggerRefused, owner.TellUnresolved, owner.TellComplete, owner.TellAbort:
		j.tellCheckpoint(op)
	case owner.TellSwept:
		j.swept(op)
		j.answer(op)
	default: // TellChangeRefused, TellBegun, TellAcked
		j.answer(op)
	}
}

// tellOwnership handles the Tells about the attach, the end of ownership and unreadable checkpoints.
func (j *job) tellOwnership(op *owner.Op) {
	switch op.Kind {
	case owner.TellAttached:
		if op.Caller != 0 {
			j.answer(op)
			return
		}
		j.attached(op)
	case owner.TellRedirect, owner.TellAttachRefused:
		j.answer(op)
		if j.m.Phase() == owner.PhaseIdle {
			j.over = errLetGo
		}
	case owner.TellFenced, owner.TellReleased:
		j.log.Info("released", "fenced", op.Kind == owner.TellFenced)
		if op.Kind == owner.TellFenced {
			j.s.metrics.fenced(j.contents)
		}
		j.coordinate(coordinator.Fenced{})
		for _, w := range j.workers {
			w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Reregister{Reregister: &ckptdv1.Reregister{}}})
		}
		j.answerAll(op)
		j.over = errLetGo
	case owner.TellDegraded:
		if op.Reason == owner.ReasonNone {
			j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_RECOVERED, "all retained checkpoints can be read again, and deletes continue")
			j.sweep.due = time.Now() // for files that could not be deleted meanwhile
			return
		}
		j.log.Warn("degraded: nothing is deleted", "checkpoint", op.ID)
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_DEGRADED, &ckptdv1.JobEvent{CheckpointId: op.ID, Text: fmt.Sprintf(
			"the _metadata of retained checkpoint %d cannot be read: nothing of this job is deleted until it can", op.ID)})
	}
}

// attached makes the coordinator with the journal's configuration and plans the first sweep.
func (j *job) attached(op *owner.Op) {
	head := j.m.Head()
	j.coord = coordinator.New(policyOf(head.Config), j.s.opts.Times, rand.Uint64())
	j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTACHED, &ckptdv1.JobEvent{Attempt: head.Attempt, Text: fmt.Sprintf("epoch %d", op.Epoch)})
	j.coordinate(coordinator.Attached{Attempt: head.Attempt})
	j.sweep.due = time.Now().Add(firstSweep)
	if head.Status.Terminal() {
		j.coordinate(coordinator.Terminal{})
		j.sweepWhenQuiet()
	}
}

// tellWorker sends a worker its command. All commands but Start end the worker's stream.
func (j *job) tellWorker(op *owner.Op) {
	w := j.workers[op.Worker]
	if w == nil {
		if op.Kind == owner.TellReplaced { // the worker's stream has broken before; the coordinator still waits for the worker
			j.replaced(j.nonceOf(op.Worker))
		}
		return
	}
	switch op.Kind {
	case owner.TellStart:
		w.attempt, w.running = op.Attempt, false
		w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Start{Start: &ckptdv1.Start{
			Attempt: op.Attempt, Epoch: j.epoch(), RestoreCheckpointId: op.ID, Roster: j.roster(), Config: configOut(j.m.Head().Config),
		}}})
		return
	case owner.TellReplaced:
		w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Replaced{Replaced: &ckptdv1.Replaced{}}})
		j.replaced(w.nonce)
	case owner.TellReregister:
		w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Reregister{Reregister: &ckptdv1.Reregister{}}})
	case owner.TellPlanRefused:
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_REFUSED, "worker %s: its plan is not the journal's, and other workers run the journal's plan", w.nonce)
		w.err = refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_PLAN_MISMATCH, Epoch: j.epoch(), Attempt: op.Attempt},
			"job %s: this worker's plan is not the plan of the running attempt: deploy the same code everywhere, or begin a new job id", j.id)
	}
	w.out.close()
}

// replaced notes that another process runs the subtasks of the process with this nonce.
func (j *job) replaced(nonce string) {
	j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_REPLACED, "worker %s: another process runs its subtasks", nonce)
	j.coordinate(coordinator.WorkerDead{Worker: nonce, Cause: "replaced by another process"})
}

// nonceOf returns the nonce of the worker process with this number.
func (j *job) nonceOf(number uint32) string {
	for nonce, n := range j.numbers {
		if n == number {
			return nonce
		}
	}
	return ""
}

// tellAttempt handles the Tells about attempts and the end of the job.
func (j *job) tellAttempt(op *owner.Op) {
	switch op.Kind {
	case owner.TellAttempt:
		j.s.metrics.attempts.Inc()
		j.progress.begin(op.Attempt)
		var nonces []string
		for _, r := range j.m.Registrations() {
			if w := j.workers[r.Worker]; w != nil && !r.Gone {
				nonces = append(nonces, w.nonce)
			}
		}
		verb := "begun"
		if op.Adopted {
			verb = "adopted: no worker restores"
			for _, w := range j.workers {
				w.attempt = op.Attempt
			}
		}
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT, &ckptdv1.JobEvent{Attempt: op.Attempt, CheckpointId: op.ID, Text: verb})
		j.coordinate(coordinator.Configured{Policy: policyOf(j.m.Head().Config)})
		j.coordinate(coordinator.AttemptStarting{Attempt: op.Attempt, Workers: nonces})
	case owner.TellAllRunning:
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_RUNNING, "all subtasks run")
		j.coordinate(coordinator.AllRunning{Attempt: op.Attempt})
		j.allAtEnd()
	case owner.TellAttempted:
		j.answer(op)
	case owner.TellEnded:
		j.ended(op)
		j.answer(op)
	}
}

// ended tells workers that the job has ended. A Tell that only answers a caller is left to answer.
func (j *job) ended(op *owner.Op) {
	if op.Reason != owner.ReasonNone || op.Caller != 0 {
		return
	}
	cause := j.m.Head().Ended.Why
	cancel := &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Cancel{Cancel: &ckptdv1.Cancel{
		Status: catalog.Status(op.Status), Reason: cause,
	}}}
	if op.Worker != 0 {
		if w := j.workers[op.Worker]; w != nil {
			w.out.put(cancel)
			w.out.close()
		}
		return
	}
	j.event(endKind(op.Status), &ckptdv1.JobEvent{Text: cause})
	j.coordinate(coordinator.Terminal{})
	for _, w := range j.workers {
		w.out.put(cancel)
		w.out.close()
	}
	j.sweepWhenQuiet()
}

// endedNow returns an end for the journal, with the current time. A job can be canceled while it fails, and can fail
// while it is canceled. The first entry counts, with its reason.
func endedNow(why string) journal.Ended { return journal.EndedAt(uint64(time.Now().UnixMilli()), why) }

// tellCheckpoint handles the Tells about one checkpoint.
func (j *job) tellCheckpoint(op *owner.Op) {
	switch op.Kind {
	case owner.TellTrigger:
		if op.Repeated {
			if c := j.contents[op.ID]; c != nil {
				j.send(op, triggerOut(op, c.triggeredAt))
			}
			return
		}
		now := time.Now()
		j.contents[op.ID] = newContent(now)
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_TRIGGERED, &ckptdv1.JobEvent{CheckpointId: op.ID, Attempt: op.Attempt})
		j.send(op, triggerOut(op, now))
		j.answer(op)
		j.coordinate(coordinator.TriggerAccepted{Checkpoint: op.ID})
	case owner.TellTriggerRefused:
		j.s.metrics.refuse(reasonOut(op.Reason))
		j.answer(op)
		j.coordinate(coordinator.TriggerRefused{Reason: reasonOut(op.Reason), Cause: reasonText(op.Reason)})
	case owner.TellUnresolved:
		j.coordinate(coordinator.Unresolved{Checkpoint: op.ID})
	case owner.TellComplete:
		j.completed(op)
	case owner.TellAbort:
		for id := op.ID; id <= max(op.ID, op.Last); id++ {
			j.aborted(op, id)
		}
	}
}

// completed tells workers, events, metrics and the coordinator that a checkpoint has completed.
func (j *job) completed(op *owner.Op) {
	j.send(op, &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Complete{Complete: &ckptdv1.Complete{
		Attempt: op.Attempt, Epoch: j.epoch(), CheckpointId: op.ID,
	}}})
	if op.Repeated {
		return
	}
	delete(j.contents, op.ID)
	j.forgetStored(op.ID)
	if c, ok := j.m.Head().Checkpoint(op.ID); ok {
		j.s.metrics.complete(&c)
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_COMPLETED, &ckptdv1.JobEvent{CheckpointId: op.ID, Attempt: op.Attempt, Checkpoint: catalog.Checkpoint(j.id, &c)})
	}
	j.coordinate(coordinator.Completed{Checkpoint: op.ID})
}

// aborted tells workers, events, metrics and the coordinator that a checkpoint was aborted. The coordinator's reason,
// if it has one, replaces the owner machine's.
func (j *job) aborted(op *owner.Op, id uint64) {
	reason, cause := reasonOut(op.Reason), reasonText(op.Reason)
	if c := j.contents[id]; c != nil && c.abort != "" {
		reason, cause = c.abort, c.abortCause
	}
	delete(j.contents, id)
	j.forgetStored(id)
	j.accepted.drop(id)
	j.send(op, &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Abort{Abort: &ckptdv1.Abort{
		Attempt: op.Attempt, Epoch: j.epoch(), CheckpointId: id, Reason: string(reason), LatestCompleteId: op.Latest,
	}}})
	if op.Repeated {
		return
	}
	j.s.metrics.abort(reason)
	j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_ABORTED, &ckptdv1.JobEvent{CheckpointId: id, Attempt: op.Attempt, Text: fmt.Sprintf("%s: %s", reason, cause)})
	j.coordinate(coordinator.Aborted{Checkpoint: id, Reason: reason, Cause: cause})
}

// triggerOut makes the Trigger command for workers.
func triggerOut(op *owner.Op, at time.Time) *ckptdv1.RegisterResponse {
	return &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Trigger{Trigger: &ckptdv1.Trigger{
		Attempt: op.Attempt, Epoch: op.Epoch, CheckpointId: op.ID, Timestamp: timestamppb.New(at),
	}}}
}

// send sends a command to the worker that op names, or to all workers if op names none.
func (j *job) send(op *owner.Op, m *ckptdv1.RegisterResponse) {
	if op.Worker == 0 {
		j.broadcast(m)
	} else if w := j.workers[op.Worker]; w != nil {
		w.out.put(m)
	}
}

// broadcast sends a command to every worker whose stream is open.
func (j *job) broadcast(m *ckptdv1.RegisterResponse) {
	for _, w := range j.workers {
		w.out.put(m)
	}
}

// epoch returns the epoch of the journal's head; 0: the job has no head.
func (j *job) epoch() uint64 {
	if head := j.m.Head(); head != nil {
		return head.Epoch
	}
	return 0
}

// roster lists where each subtask of the attempt runs.
func (j *job) roster() []*ckptdv1.RosterEntry {
	plan := j.m.Head().Plan
	var entries []*ckptdv1.RosterEntry
	for _, r := range j.m.Registrations() {
		w := j.workers[r.Worker]
		if w == nil || r.Gone {
			continue
		}
		for n := range r.Subtasks.All() {
			entries = append(entries, &ckptdv1.RosterEntry{
				Subtask: subtaskOut(plan, uint32(n)), ExchangeAddress: w.address, Nonce: w.nonce,
			})
		}
	}
	return entries
}

// decide carries out one decision of the coordinator.
func (j *job) decide(d coordinator.Decision) {
	switch d := d.(type) {
	case coordinator.Trigger:
		j.feed(owner.Event{Kind: owner.EventTrigger})
	case coordinator.Abort:
		if c := j.contents[d.Checkpoint]; c != nil {
			c.abort, c.abortCause = d.Reason, d.Cause
		}
		j.feed(owner.Event{Kind: owner.EventAbort, ID: d.Checkpoint, Reason: reasonIn(d.Reason)})
	case coordinator.NotBegun:
		j.s.metrics.refuse(d.Reason)
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_NOT_BEGUN, "%s: %s", d.Reason, d.Cause)
	case coordinator.Answer:
		if f := j.requests[d.Caller]; f != nil {
			delete(j.requests, d.Caller)
			f(d)
		}
	case coordinator.Failover:
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILOVER, &ckptdv1.JobEvent{Attempt: d.Attempt, Text: d.Cause})
		j.feed(owner.Event{Kind: owner.EventFailover, Attempt: d.Attempt, Reason: owner.ReasonFailover})
	case coordinator.StartAttempt:
		j.feed(owner.Event{Kind: owner.EventNewAttempt, Attempt: d.Attempt})
	case coordinator.FailJob:
		j.feed(owner.Event{Kind: owner.EventEnd, Status: journal.StatusFailed, Ended: endedNow(d.Cause)})
	case coordinator.Ping:
		j.broadcast(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Ping{Ping: &ckptdv1.Ping{}}})
	case coordinator.WorkerLost:
		j.workerLost(d)
	case coordinator.RegistrationsExpired:
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_EXPIRED, "not all workers of attempt %d came back", d.Attempt)
		j.feed(owner.Event{Kind: owner.EventRegistrationsExpired})
	}
}

// workerLost drops a worker that has not been heard of for too long. If its stream is still open, the worker is told to
// register again, since it may be alive.
func (j *job) workerLost(d coordinator.WorkerLost) {
	n, ok := j.numbers[d.Worker]
	if !ok {
		return
	}
	j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_WORKER_LOST, "worker %s: %s", d.Worker, d.Cause)
	if w := j.workers[n]; w != nil {
		w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Reregister{Reregister: &ckptdv1.Reregister{}}})
		w.out.close()
		delete(j.workers, n)
	}
	j.feed(owner.Event{Kind: owner.EventWorkerGone, Worker: n})
}
