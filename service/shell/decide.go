package shell

import (
	"time"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// decide carries out one decision of the coordinator.
func (j *Job) decide(d coordinator.Decision) {
	switch d := d.(type) {
	case coordinator.Trigger:
		j.manual = d.Manual
		j.feed(owner.Event{Kind: owner.EventTrigger, Checkpoint: api.KindOwned(d.Kind)})
	case coordinator.TriggerSavepoint:
		if begin := j.savepoints[d.Caller]; begin != nil {
			delete(j.savepoints, d.Caller)
			delete(j.requests, d.Caller)
			begin()
		}
	case coordinator.Abort:
		if c := j.contents[d.Checkpoint]; c != nil {
			c.abort, c.abortCause = d.Reason, d.Cause
			if d.Reason == coordinator.ReasonExpired {
				c.abortCause += j.waitedFor(d.Checkpoint)
			}
		}
		j.feed(owner.Event{Kind: owner.EventAbort, ID: d.Checkpoint, Reason: api.ReasonIn(d.Reason)})
	case coordinator.NotBegun:
		j.env.Metrics.Refused(d.Reason)
		j.recordRefused()
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_NOT_BEGUN, "%s: %s", d.Reason, d.Cause)
	case coordinator.Answer:
		j.answerRequest(d)
	case coordinator.Failover:
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILOVER, &ckptdv1.JobEvent{Attempt: d.Attempt, Text: d.Cause})
		j.feed(owner.Event{Kind: owner.EventFailover, Attempt: d.Attempt, Reason: owner.ReasonFailover})
	case coordinator.StartAttempt:
		j.feed(owner.Event{Kind: owner.EventNewAttempt, Attempt: d.Attempt})
	case coordinator.FailJob:
		j.feed(owner.Event{Kind: owner.EventEnd, Status: journal.StatusFailed, Ended: endedNow(d.Cause)})
	case coordinator.Ping:
		j.workers.send(0, &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Ping{Ping: &ckptdv1.Ping{}}})
	case coordinator.WorkerLost:
		j.workerLost(d)
	case coordinator.RegistrationsExpired:
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_EXPIRED, "not all workers of attempt %d came back", d.Attempt)
		j.feed(owner.Event{Kind: owner.EventRegistrationsExpired})
	}
}

// endedNow returns an end for the journal, with the current time. A job can be canceled while it fails, and can fail
// while it is canceled. The first entry counts, with its reason.
func endedNow(why string) journal.Ended { return journal.EndedAt(uint64(time.Now().UnixMilli()), why) }

// workerLost drops a worker that has not been heard of for too long. If its stream is still open, the worker is told to
// register again, since it may be alive.
func (j *Job) workerLost(d coordinator.WorkerLost) {
	n := j.workers.number(d.Worker)
	if n == 0 {
		return
	}
	j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_WORKER_LOST, "worker %s: %s", d.Worker, d.Cause)
	if w := j.workers.numbered(n); w != nil {
		w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Reregister{Reregister: &ckptdv1.Reregister{}}})
		w.out.close()
		j.workers.end(w)
	}
	j.feed(owner.Event{Kind: owner.EventWorkerGone, Worker: n})
}
