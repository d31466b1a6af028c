package client

import (
	"context"
	"errors"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Admin makes the calls for people: look at jobs, take a checkpoint, end a job. A call about one job goes to the job's
// owner. Unlike the calls of an engine, no call is repeated: if no daemon answers, the person is told at once. Admin is
// safe for concurrent use.
type Admin struct{ client *Client }

// Admin makes the calls for people over the client's connections.
func (c *Client) Admin() *Admin { return &Admin{c} }

// Status asks the first daemon that answers about itself and all jobs that it owns.
func (a *Admin) Status(ctx context.Context) (DaemonStatus, error) {
	res, err := a.Messages().Status(ctx)
	return fromStatus(res), err
}

// JobStatus asks the job's owner about the job. eventsAfter leaves out the events up to that sequence number; 0: none.
func (a *Admin) JobStatus(ctx context.Context, job string, eventsAfter uint64) (DaemonStatus, error) {
	res, err := a.Messages().JobStatus(ctx, job, eventsAfter)
	return fromStatus(res), err
}

// Jobs lists the jobs under the root.
func (a *Admin) Jobs(ctx context.Context) ([]JobSummary, error) {
	res, err := a.Messages().Jobs(ctx)
	return all(res.GetJobs(), fromJob), err
}

// Checkpoints lists a job's retained checkpoints, oldest first.
func (a *Admin) Checkpoints(ctx context.Context, job string) ([]CheckpointSummary, error) {
	res, err := a.Messages().Checkpoints(ctx, job)
	return all(res.GetCheckpoints(), fromCheckpoint), err
}

// Show describes one checkpoint.
func (a *Admin) Show(ctx context.Context, job string, checkpoint uint64) (CheckpointDetails, error) {
	res, err := a.Messages().Show(ctx, job, checkpoint)
	return fromDetails(res), err
}

// History answers what became of a job's checkpoints, also after the job has ended.
func (a *Admin) History(ctx context.Context, job string, q HistoryQuery) (History, error) {
	res, err := a.Messages().History(ctx, &ckptdv1.GetHistoryRequest{
		JobId: job, PageSize: q.PageSize, Before: q.Before, Failed: q.Failed, CheckpointId: q.Checkpoint,
	})
	return fromHistory(res), err
}

// Trigger takes a checkpoint now. It returns when the checkpoint is complete or has failed.
func (a *Admin) Trigger(ctx context.Context, job string) (CheckpointSummary, error) {
	return a.TriggerKind(ctx, job, ConfiguredCheckpoint)
}

// TriggerKind is Trigger with a kind of checkpoint.
func (a *Admin) TriggerKind(ctx context.Context, job string, kind CheckpointKind) (CheckpointSummary, error) {
	res, err := a.Messages().TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: job, Kind: ckptdv1.CheckpointKind(kind)})
	return fromCheckpoint(res.GetCheckpoint()), err
}

// Cancel ends a job. Its configuration says which checkpoints are kept.
func (a *Admin) Cancel(ctx context.Context, job string) (Canceled, error) {
	res, err := a.Messages().Cancel(ctx, job)
	return fromCanceled(res), err
}

// Suspend ends the work of a job's workers and of its owner, but not the job: nothing of it is deleted, and whoever starts its workers
// again goes on from the checkpoint that Suspend returns. Its zero value: the job has none.
func (a *Admin) Suspend(ctx context.Context, job string) (CheckpointSummary, error) {
	res, err := a.Messages().Suspend(ctx, job)
	return fromCheckpoint(res.GetCheckpoint()), err
}

// EndedWith is the status with which a job has ended, if err says that it has ended; else it is 0.
func EndedWith(err error) JobStatus {
	if ce, ok := errors.AsType[*callError](err); ok && errors.Is(ce, ErrJobTerminal) {
		return JobStatus(ce.refused.GetStatus())
	}
	return 0
}
