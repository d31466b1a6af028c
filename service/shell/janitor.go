package shell

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
)

// AttachAsJanitor makes this process the job's owner, for one thing that a person's command does with the job. If
// another owner answers, the error is api.NotOwner's. takeOver takes a job that has not ended from an owner that does not
// answer; otherwise such a job is refused, and the error names the owner.
func (j *Job) AttachAsJanitor(ctx context.Context, takeOver bool) error {
	_, err := ask(ctx, j, func(reply func(struct{}, error)) {
		caller := j.wait(func(op *owner.Op) {
			switch {
			case op.Kind == owner.TellAttached:
				reply(struct{}{}, nil)
			case op.Reason == owner.ReasonSilent:
				reply(struct{}{}, fmt.Errorf("job %s: %s: the owner is at %s", j.id, api.ReasonText(op.Reason), strings.Join(op.URLs, ", ")))
			default:
				reply(struct{}{}, j.refusal(op))
			}
		})
		j.feed(owner.Event{Kind: owner.EventJanitor, Caller: caller, TakeOver: takeOver})
	})
	return err
}

// Sweep deletes what nothing needs any more. It returns when the whole folder was looked at; Settled waits for the
// deletes. While the retained _metadata are being read, or another sweep runs, Sweep waits.
func (j *Job) Sweep(ctx context.Context) error {
	for {
		op, err := ask(ctx, j, func(reply func(owner.Op, error)) {
			caller := j.wait(func(op *owner.Op) { reply(*op, j.refusal(op)) })
			j.feed(owner.Event{Kind: owner.EventSweep, Caller: caller})
		})
		busy := op.Kind == owner.TellSwept && (op.Reason == owner.ReasonLoading || op.Reason == owner.ReasonBusy)
		if !busy || !journalio.Sleep(ctx, lookAgain) {
			return err
		}
	}
}

// DropStalePins drops the pins on the job's checkpoints that nobody returns any more, as each sweep does: their holder does not list them
// and never will, or their time is over. It returns when that is done.
func (j *Job) DropStalePins(ctx context.Context) error {
	if err := j.Sweep(ctx); err != nil {
		return err
	}
	return j.unlessReleased(j.await(ctx, j.m.PinsSettled))
}

// Settled waits until nothing is under way: no sweep, no delete, no entry, no pin to be returned. A job that was released
// meanwhile, after its end, is settled.
func (j *Job) Settled(ctx context.Context) error {
	return j.unlessReleased(j.await(ctx, j.m.Quiet))
}

// Leave waits until nothing is under way. A job that has ended is swept once more, and is released then. Any other job
// is left owned: Release releases it.
func (j *Job) Leave(ctx context.Context) error {
	if err := j.Settled(ctx); err != nil {
		return err
	}
	terminal, err := ask(ctx, j, func(reply func(bool, error)) {
		head := j.m.Head()
		reply(head != nil && head.Status.Terminal(), nil)
	})
	if terminal {
		if err = j.Sweep(ctx); err == nil {
			err = j.Settled(ctx)
		}
	}
	return j.unlessReleased(err)
}

// unlessReleased is the error of a wait for a job, or nil if the job's goroutine has ended because this process has
// released the job.
func (j *Job) unlessReleased(err error) error {
	select {
	case <-j.done:
	default:
		return err
	}
	switch {
	case j.fenced:
		return connect.NewError(connect.CodeUnavailable, fmt.Errorf("job %s: another process has taken the job over meanwhile: try again", j.id))
	case j.released && api.IsNotAttached(err):
		return nil
	}
	return err
}
