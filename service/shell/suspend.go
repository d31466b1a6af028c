package shell

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// A job is suspended in this order: its workers are told to end, they leave, and then the owner releases the job by an entry that says
// so. The entry comes last: workers whose stream breaks find an owner until then, and would otherwise begin the job again.

// suspendReason is what workers hear when their job is suspended.
const suspendReason = "suspended on request"

// Suspend ends the work of the job's workers, and then releases the job. The job keeps all its checkpoints and can go on. Suspend
// returns when the journal says so.
func (j *Job) Suspend(ctx context.Context) error {
	_, err := ask(ctx, j, func(reply func(struct{}, error)) {
		head := j.m.Head()
		switch {
		case head == nil || j.coord == nil:
			reply(struct{}{}, api.NotAttached(j.id))
			return
		case head.Status == journal.StatusStopping || j.m.StopsWithSavepoint():
			reply(struct{}{}, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("suspend job %s: a savepoint is stopping it: wait for its end", j.id)))
			return
		}
		j.wait(func(op *owner.Op) {
			var err error
			if op.Kind != owner.TellReleased {
				err = api.NotAttached(j.id)
			}
			reply(struct{}{}, err)
		})
		j.suspend()
	})
	return err
}

// missingTime is how long an owner that suspends a job waits for workers that have not registered with it. They may be those of the
// owner before, and would begin the job again if they found nobody.
const missingTime = 10 * time.Second

// suspend tells the workers to end. When they have left, or after leaveTime, the job is released. If some have not registered yet,
// they hear it when they do, and the job is released after missingTime.
func (j *Job) suspend() {
	if j.suspending {
		return
	}
	j.suspending, j.missed = true, !j.m.Missing().IsEmpty()
	wait := leaveTime
	if j.missed {
		wait = missingTime
	}
	j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_SUSPENDED, "%s", suspendReason)
	j.coordinate(coordinator.Terminal{})
	j.workers.send(0, suspendCommand())
	j.workers.close()
	j.env.Step(StepSuspended)
	time.AfterFunc(wait, func() { j.do(j.releaseSuspended) })
	j.suspendedLeft()
}

// suspendCommand tells a worker to end.
func suspendCommand() *ckptdv1.RegisterResponse {
	return &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Cancel{Cancel: &ckptdv1.Cancel{
		Status: ckptdv1.JobStatus_JOB_STATUS_SUSPENDED, Reason: suspendReason,
	}}}
}

// suspendedLeft releases a job that is being suspended, once no worker's stream is open and no worker is missing.
func (j *Job) suspendedLeft() {
	if j.suspending && !j.missed && j.workers.none() {
		j.releaseSuspended()
	}
}

func (j *Job) releaseSuspended() { j.feed(owner.Event{Kind: owner.EventStop, Suspend: true}) }
