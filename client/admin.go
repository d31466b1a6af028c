package client

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Messages that Admin passes through unchanged: they are what the command line prints as JSON.
type (
	// DaemonStatus describes a daemon and the jobs that were asked for.
	DaemonStatus = ckptdv1.GetStatusResponse
	// JobState is the current state of a job, as its owner knows it.
	JobState = ckptdv1.JobState
	// JobList names the jobs under a daemon's root.
	JobList = ckptdv1.ListJobsResponse
	// CheckpointList names a job's retained checkpoints, oldest first.
	CheckpointList = ckptdv1.ListCheckpointsResponse
	// CheckpointDetails describes one checkpoint.
	CheckpointDetails = ckptdv1.ShowCheckpointResponse
	// Triggered is the checkpoint that a trigger has completed.
	Triggered = ckptdv1.TriggerCheckpointResponse
	// Canceled says how a job ended and which checkpoints are kept.
	Canceled = ckptdv1.CancelJobResponse
)

// Admin makes the calls for people: look at jobs, take a checkpoint, end a job. A call about one job goes to the job's
// owner. Unlike the calls of an engine, no call is repeated: if no daemon answers, the person is told at once. Admin is
// safe for concurrent use.
type Admin struct{ client *Client }

// Admin makes the calls for people over the client's connections.
func (c *Client) Admin() *Admin { return &Admin{c} }

// Status asks the first daemon that answers about itself and all jobs that it owns.
func (a *Admin) Status(ctx context.Context) (*DaemonStatus, error) {
	return callDaemon(ctx, a, func(e *endpoint) (*DaemonStatus, error) {
		return e.jobs.GetStatus(ctx, &ckptdv1.GetStatusRequest{})
	})
}

// JobStatus asks the job's owner about the job. eventsAfter leaves out the events up to that sequence number; 0: none.
func (a *Admin) JobStatus(ctx context.Context, job string, eventsAfter uint64) (*DaemonStatus, error) {
	return callDaemon(ctx, a, func(e *endpoint) (*DaemonStatus, error) {
		return e.jobs.GetStatus(ctx, &ckptdv1.GetStatusRequest{JobId: job, EventsAfter: eventsAfter})
	})
}

// Jobs lists the jobs under the root.
func (a *Admin) Jobs(ctx context.Context) (*JobList, error) {
	return callDaemon(ctx, a, func(e *endpoint) (*JobList, error) {
		return e.jobs.ListJobs(ctx, &ckptdv1.ListJobsRequest{})
	})
}

// Checkpoints lists a job's retained checkpoints, oldest first.
func (a *Admin) Checkpoints(ctx context.Context, job string) (*CheckpointList, error) {
	return callDaemon(ctx, a, func(e *endpoint) (*CheckpointList, error) {
		return e.jobs.ListCheckpoints(ctx, &ckptdv1.ListCheckpointsRequest{JobId: job})
	})
}

// Show describes one checkpoint.
func (a *Admin) Show(ctx context.Context, job string, checkpoint uint64) (*CheckpointDetails, error) {
	return callDaemon(ctx, a, func(e *endpoint) (*CheckpointDetails, error) {
		return e.jobs.ShowCheckpoint(ctx, &ckptdv1.ShowCheckpointRequest{JobId: job, CheckpointId: checkpoint})
	})
}

// Trigger takes a checkpoint now. It returns when the checkpoint is complete or has failed.
func (a *Admin) Trigger(ctx context.Context, job string) (*Triggered, error) {
	req := &ckptdv1.TriggerCheckpointRequest{JobId: job, RequestId: newID()}
	return callDaemon(ctx, a, func(e *endpoint) (*Triggered, error) { return e.jobs.TriggerCheckpoint(ctx, req) })
}

// Cancel ends a job. Its configuration says which checkpoints are kept.
func (a *Admin) Cancel(ctx context.Context, job string) (*Canceled, error) {
	req := &ckptdv1.CancelJobRequest{JobId: job, RequestId: newID()}
	return callDaemon(ctx, a, func(e *endpoint) (*Canceled, error) { return e.jobs.CancelJob(ctx, req) })
}

// EndedWith is the status with which a job has ended, if err says that it has ended; else it is 0.
func EndedWith(err error) JobStatus {
	if ce, ok := errors.AsType[*callError](err); ok && errors.Is(ce, ErrJobTerminal) {
		return JobStatus(ce.refused.GetStatus())
	}
	return 0
}

// callDaemon calls the first daemon that answers, or the owner that this daemon names.
func callDaemon[T any](ctx context.Context, a *Admin, call func(*endpoint) (*T, error)) (*T, error) {
	r := route{ahead: a.client.urls}
	for {
		url, _ := r.next()
		e, err := a.client.endpoint(url)
		if err != nil {
			return nil, fmt.Errorf("client: daemon %s: %w", url, err)
		}
		res, err := call(e)
		if err == nil {
			return res, nil
		}
		ce := classify(ctx, err)
		switch silent := errors.Is(ce, ErrUnavailable); {
		case r.follow(ce) || silent && len(r.ahead) > 0:
		case silent && !connect.IsWireError(ce.cause):
			return nil, fmt.Errorf("no daemon answers at %s: is it running? %w", url, &answer{ce})
		default:
			return nil, &answer{ce}
		}
	}
}

// answer is a daemon's error answer to a person. Its text is the daemon's own; errors.Is finds its meaning.
type answer struct{ *callError }

func (a *answer) Error() string { return a.cause.Error() }

func (a *answer) Unwrap() error { return a.callError }
