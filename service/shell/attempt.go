package shell

import (
	"context"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// NewAttempt begins the next attempt.
func (j *Job) NewAttempt(ctx context.Context, req *ckptdv1.NewAttemptRequest) (*ckptdv1.NewAttemptResponse, error) {
	return ask(ctx, j, func(reply func(*ckptdv1.NewAttemptResponse, error)) {
		caller := j.wait(func(op *owner.Op) {
			if err := j.refusal(op); err != nil {
				reply(nil, err)
				return
			}
			reply(&ckptdv1.NewAttemptResponse{Attempt: op.Attempt}, nil)
		})
		j.coordinate(coordinator.NewAttempt{Attempt: req.GetAttempt(), Cause: req.GetReason()})
		j.feed(owner.Event{
			Kind: owner.EventNewAttempt, Caller: caller, Attempt: req.GetAttempt(), Request: journal.RequestOf(req.GetRequestId()),
		})
	})
}

// Cancel ends the job as canceled.
func (j *Job) Cancel(ctx context.Context, req *ckptdv1.CancelJobRequest) (*ckptdv1.CancelJobResponse, error) {
	return ask(ctx, j, func(reply func(*ckptdv1.CancelJobResponse, error)) {
		caller := j.wait(func(op *owner.Op) {
			if err := j.refusal(op); err != nil {
				reply(nil, err)
				return
			}
			head := j.told()
			reply(&ckptdv1.CancelJobResponse{Status: catalog.Status(head.Status), Retained: api.RetainedOut(head)}, nil)
		})
		j.feed(owner.Event{
			Kind: owner.EventEnd, Status: journal.StatusCanceled, Ended: endedNow("canceled on request"), Caller: caller,
			Request: journal.RequestOf(req.GetRequestId()),
		})
	})
}
