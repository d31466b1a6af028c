package shell

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// stepped publishes the rules for uploads, which follow from the owner machine's state.
func (j *Job) stepped() {
	head := j.m.Head()
	if head == nil || head.Status.Terminal() {
		j.uploads.allow(nil)
		return
	}
	if n := j.m.Cleaning(); n != j.cleaning {
		j.cleaning = n
		j.coordinate(coordinator.Cleaning{Checkpoints: n})
	}
	now := &Rights{Epoch: head.Epoch, Attempt: head.Attempt, Reserved: head.Reserved, Owned: true, Borrowed: head.Borrowed, MaxState: j.life.max}
	for _, p := range j.m.Pending() {
		if p.State == owner.PendingOpen {
			now.Open = append(now.Open, p.ID)
		}
	}
	j.uploads.allow(now)
}

// settled publishes the job's vitals. A job that is not attached or has ended has none.
func (j *Job) settled() {
	if j.over {
		j.refuseRequests()
	}
	j.answerAwaited()
	j.waits.Store(j.outage.reported)
	head := j.m.Head()
	if head == nil || head.Status.Terminal() || j.coord == nil {
		j.vitals.Store(nil)
		return
	}
	v := Vitals{
		Pending: len(j.contents), Failures: j.coord.State().ConsecutiveFailures, Condemned: j.m.Condemned(), Bytes: j.names.Bytes(),
	}
	if j.history != nil {
		v.Seen = j.history.seen
	}
	for i := range head.Retained {
		v.Bytes += head.Retained[i].Size
	}
	if before := j.vitals.Load(); before != nil {
		v.Last = before.Last
	} else {
		v.Last = time.Now()
	}
	if c, ok := head.Checkpoint(head.Newest()); ok && c.CompletedAt > 0 {
		v.Last = time.UnixMilli(int64(c.CompletedAt))
	}
	j.vitals.Store(&v)
}

// tell passes a Tell of the owner machine on to workers, callers and the coordinator.
func (j *Job) tell(op *owner.Op) {
	switch op.Kind {
	case owner.TellAttached, owner.TellRedirect, owner.TellAttachRefused, owner.TellFenced, owner.TellReleased, owner.TellDegraded:
		j.tellOwnership(op)
	case owner.TellStart, owner.TellReplaced, owner.TellReregister, owner.TellPlanRefused:
		j.tellWorker(op)
	case owner.TellChange, owner.TellAttempt, owner.TellAttempted, owner.TellAllRunning, owner.TellFinished, owner.TellEnded:
		j.tellAttempt(op)
	case owner.TellSavepoint, owner.TellSaved:
		j.tellSavepoint(op)
		j.disposePeriodic()
	case owner.TellTrigger, owner.TellTriggerRefused, owner.TellUnresolved, owner.TellComplete, owner.TellAbort:
		j.tellCheckpoint(op)
	case owner.TellImported, owner.TellImportFailed, owner.TellPinStuck:
		j.tellImport(op)
	case owner.TellSwept:
		j.swept(op)
		j.answer(op)
	default: // TellChangeRefused, TellBegun, TellAcked
		j.answer(op)
	}
}

// tellOwnership handles the Tells about the attach, the end of ownership and unreadable checkpoints.
func (j *Job) tellOwnership(op *owner.Op) {
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
			j.over = true
		}
	case owner.TellFenced, owner.TellReleased:
		if op.Kind == owner.TellFenced {
			j.fenced = true
			j.log.Warn("another daemon has taken the job over")
			j.env.Metrics.Fenced(j.committing())
		} else {
			j.released = true
			j.log.Info("released")
		}
		j.coordinate(coordinator.Fenced{})
		if !j.suspending { // else the workers are told to end
			j.workers.send(0, &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Reregister{Reregister: &ckptdv1.Reregister{}}})
		}
		j.writeLastHistory()
		j.answerAll(op)
		j.over = true
	case owner.TellDegraded:
		if op.Reason == owner.ReasonNone {
			j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_RECOVERED, "all retained checkpoints can be read again, and deletes continue")
			j.sweeps.soon(time.Now()) // for files that could not be deleted meanwhile
			return
		}
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_DEGRADED, &ckptdv1.JobEvent{CheckpointId: op.ID, Text: fmt.Sprintf(
			"the _metadata of retained checkpoint %d cannot be read: nothing of this job is deleted until it can", op.ID)})
	}
}

// committing counts the checkpoints that all subtasks have acknowledged and that are not complete.
func (j *Job) committing() (n int) {
	for _, c := range j.contents {
		if !c.completedAt.IsZero() {
			n++
		}
	}
	return n
}

// attached makes the coordinator with the journal's configuration and plans the first sweep. A janitor serves no workers,
// and sweeps when its command wants.
func (j *Job) attached(op *owner.Op) {
	head := j.told()
	if j.env.Janitor {
		j.log.Debug("attached as janitor", "epoch", op.Epoch)
		return
	}
	j.coord = coordinator.New(api.PolicyOf(head.Config), j.env.Times, rand.Uint64())
	j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTACHED, &ckptdv1.JobEvent{Attempt: head.Attempt, Text: fmt.Sprintf("epoch %d", op.Epoch)})
	j.attachedInMemory()
	j.coordinate(coordinator.Attached{Attempt: head.Attempt})
	j.sweeps.attached(time.Now())
	if head.Status.Terminal() {
		j.coordinate(coordinator.Terminal{})
		j.jobEnded()
	}
}

// jobEnded refuses new uploads and plans the last sweep.
func (j *Job) jobEnded() {
	j.uploads.close()
	j.sweeps.jobEnded(time.Now())
}

// tellAttempt handles the Tells about attempts and the end of the job.
func (j *Job) tellAttempt(op *owner.Op) {
	switch op.Kind {
	case owner.TellChange:
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_CHANGED, "the next attempt has another plan or configuration: %s", api.DifferencesText(op))
		j.coordinate(coordinator.NewAttempt{Attempt: op.Attempt, Cause: "another plan or configuration"})
	case owner.TellAttempt:
		j.attempt(op)
	case owner.TellAllRunning:
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_RUNNING, "all subtasks run")
		j.coordinate(coordinator.AllRunning{Attempt: op.Attempt})
		j.allAtEnd()
	case owner.TellFinished:
		j.coordinate(coordinator.WorkerFinished{Worker: j.workers.nonce(op.Worker), Attempt: op.Attempt})
	case owner.TellAttempted:
		j.answer(op)
	case owner.TellEnded:
		j.ended(op)
		j.answer(op)
	}
}

// attempt tells events, metrics and the coordinator that an attempt has begun or was adopted.
func (j *Job) attempt(op *owner.Op) {
	j.env.Metrics.Attempt()
	if c, ok := j.told().Checkpoint(op.ID); ok && !op.Adopted {
		j.env.Metrics.Restored(&c)
	}
	if op.ID != 0 && !op.Adopted {
		j.recordRestored(op.ID, op.Attempt)
	}
	j.progress.begin(op.Attempt)
	var nonces []string
	for _, r := range j.m.Registrations() {
		if w := j.workers.numbered(r.Worker); w != nil && !r.Gone {
			nonces = append(nonces, w.nonce)
		}
	}
	verb := "begun"
	if op.Adopted {
		verb = "adopted: no worker restores"
		j.workers.adopted(op.Attempt)
	}
	j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT, &ckptdv1.JobEvent{Attempt: op.Attempt, CheckpointId: op.ID, Text: verb})
	j.coordinate(coordinator.Configured{Policy: api.PolicyOf(j.told().Config)})
	j.coordinate(coordinator.AttemptStarting{Attempt: op.Attempt, Workers: nonces})
}

// allAtEnd tells the coordinator, once in each attempt, that all sources have read all their input.
func (j *Job) allAtEnd() {
	head := j.m.Head()
	if head == nil || j.progress.told || !j.m.AllRunning() {
		return
	}
	if end, all := j.progress.sources(head.Plan); all > 0 && end == all {
		j.progress.told = true
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_END_OF_DATA, "all sources have read all their input")
		j.coordinate(coordinator.AllAtEnd{Attempt: head.Attempt})
	}
}

// ended tells workers that the job has ended. A Tell that only answers a caller is left to answer.
func (j *Job) ended(op *owner.Op) {
	if op.Reason != owner.ReasonNone || op.Caller != 0 {
		return
	}
	cause := j.told().Ended.Why
	cancel := &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Cancel{Cancel: &ckptdv1.Cancel{
		Status: catalog.Status(op.Status), Reason: cause,
	}}}
	if op.Worker != 0 {
		if w := j.workers.numbered(op.Worker); w != nil {
			w.out.put(cancel)
			w.out.close()
		}
		return
	}
	j.env.Metrics.Ended(op.Status)
	j.event(api.EndKind(op.Status), &ckptdv1.JobEvent{Text: cause})
	j.coordinate(coordinator.Terminal{})
	j.workers.send(0, cancel)
	j.workers.close()
	j.writeHistoryNow()
	j.jobEnded()
}

// swept notes the end of a sweep. A sweep that failed is begun again later. While a retained _metadata is unreadable,
// the next sweep begins when the job has recovered.
func (j *Job) swept(op *owner.Op) {
	j.disposeClaimed()
	j.disposePeriodic()
	if op.Caller != 0 { // a person's sweep
		return
	}
	failed := op.Reason != owner.ReasonNone && op.Reason != owner.ReasonDegraded
	if failed {
		j.log.Warn("the sweep failed and is repeated", "reason", api.ReasonText(op.Reason))
	}
	j.sweeps.ended(time.Now(), failed)
}
