package shell

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// Report takes the state of subtasks.
func (j *Job) Report(ctx context.Context, req *ckptdv1.ReportRequest) (*ckptdv1.ReportResponse, error) {
	if req.GetKind() == ckptdv1.ReportRequest_KIND_UNSPECIFIED {
		return nil, api.Invalidf("report of job %s: it has no kind: say KIND_ALIVE, KIND_RUNNING, KIND_FAILED, KIND_END_OF_DATA, KIND_COMMITTED, "+
			"KIND_FINISHED, KIND_GOODBYE or KIND_BACKLOG", j.id)
	}
	return ask(ctx, j, func(reply func(*ckptdv1.ReportResponse, error)) {
		reply(&ckptdv1.ReportResponse{}, j.report(req))
	})
}

// report handles a call of Report.
func (j *Job) report(req *ckptdv1.ReportRequest) error {
	w, head := j.workers.named(req.GetNonce()), j.m.Head()
	if head == nil {
		return api.NotAttached(j.id)
	}
	if n := j.workers.number(req.GetNonce()); n != 0 && req.GetKind() == ckptdv1.ReportRequest_KIND_GOODBYE {
		j.goodbye(n, req.GetNonce())
		return nil
	}
	if w == nil { // the worker's stream has ended; it registers again and repeats its reports, except failures
		if req.GetKind() == ckptdv1.ReportRequest_KIND_FAILED && req.GetAttempt() == head.Attempt && !head.Status.Terminal() {
			return connect.NewError(connect.CodeUnavailable, fmt.Errorf("job %s: worker %q is not registered here: register, then report again", j.id, req.GetNonce()))
		}
		return nil
	}
	w.heard = time.Now()
	j.coordinate(coordinator.Alive{Worker: w.nonce})
	j.reported(req, w)
	return nil
}

// goodbye lets a process leave in peace. Its stream may have ended before.
func (j *Job) goodbye(n uint32, nonce string) {
	if w := j.workers.numbered(n); w != nil {
		w.out.close()
		j.workers.end(w)
	}
	if !j.m.Head().Status.Terminal() {
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_GOODBYE, "worker %s said goodbye", nonce)
	}
	j.coordinate(coordinator.WorkerLeft{Worker: nonce})
	j.feed(owner.Event{Kind: owner.EventWorkerGone, Worker: n})
	j.workerLeft()
}

// workerLeft begins the last sweep of a job that has ended if it waited for this worker's end.
func (j *Job) workerLeft() {
	if j.sweeps.last() {
		j.sweepIfDue()
	}
	j.suspendedLeft()
}

// reported handles the report of a registered worker.
func (j *Job) reported(req *ckptdv1.ReportRequest, w *session) {
	head := j.m.Head()
	subtasks := req.GetSubtasks()
	if len(subtasks) == 0 {
		subtasks = w.subtasks
	}
	set, err := api.NumbersIn(head.Plan, subtasks)
	if err != nil {
		return // the report belongs to another plan, and therefore to another attempt
	}
	switch req.GetKind() {
	case ckptdv1.ReportRequest_KIND_ALIVE:
		if req.GetAttempt() == head.Attempt {
			w.records = req.GetRecords()
		}
	case ckptdv1.ReportRequest_KIND_RUNNING:
		w.running = w.running || req.GetAttempt() == w.attempt
		j.feed(owner.Event{Kind: owner.EventRunning, Worker: w.number, Subtasks: set, Attempt: req.GetAttempt()})
	case ckptdv1.ReportRequest_KIND_FAILED:
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED, &ckptdv1.JobEvent{Attempt: req.GetAttempt(), Text: req.GetCause()})
		j.coordinate(coordinator.WorkerFailed{Worker: w.nonce, Attempt: req.GetAttempt(), Cause: req.GetCause()})
	case ckptdv1.ReportRequest_KIND_FINISHED:
		j.feed(owner.Event{Kind: owner.EventFinished, Worker: w.number, Subtasks: set, Attempt: req.GetAttempt(),
			Ended: endedNow("all subtasks have finished")})
		j.coordinate(coordinator.SubtasksFinished{Attempt: req.GetAttempt()})
		j.backlog(req.GetAttempt(), set, false)
	case ckptdv1.ReportRequest_KIND_END_OF_DATA:
		j.progress.hear(req.GetAttempt(), head)
		j.progress.atEnd(req.GetAttempt(), set)
		j.backlog(req.GetAttempt(), set, false)
		j.allAtEnd()
	case ckptdv1.ReportRequest_KIND_BACKLOG:
		j.backlog(req.GetAttempt(), set, req.GetBacklog())
	case ckptdv1.ReportRequest_KIND_COMMITTED:
		j.progress.hear(req.GetAttempt(), head)
		j.progress.commit(req.GetAttempt(), set, req.GetCheckpointId())
		j.announceCommitted()
	}
}

// backlog tells the coordinator when the first source begins to work off a backlog, and when the last one has ended that.
func (j *Job) backlog(attempt uint64, subtasks owner.Subtasks, on bool) {
	head := j.m.Head()
	if head == nil {
		return
	}
	j.progress.hear(attempt, head)
	if j.progress.backlogged(attempt, subtasks, on) {
		j.coordinate(coordinator.Backlog{Attempt: attempt, On: !j.progress.backlog.IsEmpty()})
	}
}

// announceCommitted adds an event when every sink has committed a newer checkpoint.
func (j *Job) announceCommitted() {
	head := j.m.Head()
	if head == nil {
		return
	}
	if id := j.progress.committed(head.Plan); id > j.progress.announced {
		j.progress.announced = id
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_COMMITTED, &ckptdv1.JobEvent{CheckpointId: id, Text: "every sink has committed it"})
	}
}
