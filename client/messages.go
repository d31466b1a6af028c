package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"connectrpc.com/connect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Messages makes the calls of Admin and answers with the messages of the API, for programs that print them as JSON, like
// the command line. It is safe for concurrent use.
type Messages struct{ admin *Admin }

// Messages returns the same calls with the messages of the API.
func (a *Admin) Messages() *Messages { return &Messages{a} }

// Status asks the first daemon that answers about itself and all jobs that it owns.
func (m *Messages) Status(ctx context.Context) (*ckptdv1.GetStatusResponse, error) {
	return callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.GetStatusResponse, error) {
		return e.jobs.GetStatus(ctx, &ckptdv1.GetStatusRequest{})
	})
}

// JobStatus asks the job's owner about the job. eventsAfter leaves out the events up to that sequence number; 0: none.
func (m *Messages) JobStatus(ctx context.Context, job string, eventsAfter uint64) (*ckptdv1.GetStatusResponse, error) {
	return callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.GetStatusResponse, error) {
		return e.jobs.GetStatus(ctx, &ckptdv1.GetStatusRequest{JobId: job, EventsAfter: eventsAfter})
	})
}

// Jobs lists the jobs under the root.
func (m *Messages) Jobs(ctx context.Context) (*ckptdv1.ListJobsResponse, error) {
	return callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.ListJobsResponse, error) {
		return e.jobs.ListJobs(ctx, &ckptdv1.ListJobsRequest{})
	})
}

// Checkpoints lists a job's retained checkpoints, oldest first.
func (m *Messages) Checkpoints(ctx context.Context, job string) (*ckptdv1.ListCheckpointsResponse, error) {
	return callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.ListCheckpointsResponse, error) {
		return e.jobs.ListCheckpoints(ctx, &ckptdv1.ListCheckpointsRequest{JobId: job})
	})
}

// Show describes one checkpoint.
func (m *Messages) Show(ctx context.Context, job string, checkpoint uint64) (*ckptdv1.ShowCheckpointResponse, error) {
	return callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.ShowCheckpointResponse, error) {
		return e.jobs.ShowCheckpoint(ctx, &ckptdv1.ShowCheckpointRequest{JobId: job, CheckpointId: checkpoint})
	})
}

// History answers what became of a job's checkpoints: a page of the list, and the counts.
func (m *Messages) History(ctx context.Context, req *ckptdv1.GetHistoryRequest) (*ckptdv1.GetHistoryResponse, error) {
	return callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.GetHistoryResponse, error) { return e.history.GetHistory(ctx, req) })
}

// Trigger takes a checkpoint now. It returns when the checkpoint is complete or has failed.
func (m *Messages) Trigger(ctx context.Context, job string) (*ckptdv1.TriggerCheckpointResponse, error) {
	return m.TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: job})
}

// TriggerCheckpoint is Trigger with a kind of checkpoint. A repeated call with the same request joins the first one.
func (m *Messages) TriggerCheckpoint(ctx context.Context, req *ckptdv1.TriggerCheckpointRequest) (*ckptdv1.TriggerCheckpointResponse, error) {
	if req.GetRequestId() == "" {
		req.RequestId = newID()
	}
	return callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.TriggerCheckpointResponse, error) {
		return e.jobs.TriggerCheckpoint(ctx, req)
	})
}

// Savepoint begins a savepoint of a job. A repeated call with the same request answers with the same savepoint.
func (m *Messages) Savepoint(ctx context.Context, req *ckptdv1.TriggerSavepointRequest) (*ckptdv1.Savepoint, error) {
	if req.GetRequestId() == "" {
		req.RequestId = newID()
	}
	res, err := callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.TriggerSavepointResponse, error) {
		return e.saves.TriggerSavepoint(ctx, req)
	})
	return res.GetSavepoint(), err
}

// Savepoints lists the last savepoints of a job, oldest first.
func (m *Messages) Savepoints(ctx context.Context, job string) (*ckptdv1.ListSavepointsResponse, error) {
	return callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.ListSavepointsResponse, error) {
		return e.saves.ListSavepoints(ctx, &ckptdv1.ListSavepointsRequest{JobId: job})
	})
}

// Cancel ends a job. Its configuration says which checkpoints are kept.
func (m *Messages) Cancel(ctx context.Context, job string) (*ckptdv1.CancelJobResponse, error) {
	req := &ckptdv1.CancelJobRequest{JobId: job, RequestId: newID()}
	return callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.CancelJobResponse, error) { return e.jobs.CancelJob(ctx, req) })
}

// Suspend ends the work of a job's workers and of its owner, but not the job.
func (m *Messages) Suspend(ctx context.Context, job string) (*ckptdv1.SuspendJobResponse, error) {
	return callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.SuspendJobResponse, error) {
		return e.jobs.SuspendJob(ctx, &ckptdv1.SuspendJobRequest{JobId: job})
	})
}

// Collect asks the job's owner what nothing needs any more, and passes the answer to page. With req.Execute the owner
// deletes it, and Collect returns when that is done.
func (m *Messages) Collect(ctx context.Context, req *ckptdv1.CollectRequest, page func(*ckptdv1.CollectResponse) error) error {
	var broken error
	_, err := callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.CollectResponse, error) {
		stream, err := e.collect.Collect(ctx, req)
		if err != nil {
			return nil, err
		}
		defer func() { _ = stream.Close() }()
		begun := false
		for stream.Receive() {
			begun = true
			if broken = page(stream.Msg()); broken != nil {
				return &ckptdv1.CollectResponse{}, nil
			}
		}
		if begun && stream.Err() != nil { // no other daemon is asked: page has seen a part of the answer
			broken = &answer{classify(ctx, stream.Err())}
			return &ckptdv1.CollectResponse{}, nil
		}
		return &ckptdv1.CollectResponse{}, stream.Err()
	})
	return errors.Join(err, broken)
}

// Remove puts checkpoints into the trash, or drops them.
func (m *Messages) Remove(ctx context.Context, req *ckptdv1.RemoveCheckpointsRequest) (*ckptdv1.RetentionChange, error) {
	req.RequestId = newID()
	res, err := callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.RemoveCheckpointsResponse, error) {
		return e.retain.RemoveCheckpoints(ctx, req)
	})
	return res.GetChange(), err
}

// Undelete brings checkpoints back from the trash.
func (m *Messages) Undelete(ctx context.Context, req *ckptdv1.UndeleteCheckpointsRequest) (*ckptdv1.RetentionChange, error) {
	req.RequestId = newID()
	res, err := callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.UndeleteCheckpointsResponse, error) {
		return e.retain.UndeleteCheckpoints(ctx, req)
	})
	return res.GetChange(), err
}

// Tag adds tags to checkpoints, or takes them away.
func (m *Messages) Tag(ctx context.Context, req *ckptdv1.TagCheckpointsRequest) (*ckptdv1.RetentionChange, error) {
	req.RequestId = newID()
	res, err := callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.TagCheckpointsResponse, error) {
		return e.retain.TagCheckpoints(ctx, req)
	})
	return res.GetChange(), err
}

// DropStalePins drops the pins on a job's checkpoints that nobody returns any more.
func (m *Messages) DropStalePins(ctx context.Context, req *ckptdv1.DropStalePinsRequest) error {
	_, err := callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.DropStalePinsResponse, error) { return e.retain.DropStalePins(ctx, req) })
	return err
}

// Purge removes a job that has ended.
func (m *Messages) Purge(ctx context.Context, req *ckptdv1.PurgeJobRequest) (*ckptdv1.RetentionChange, error) {
	req.RequestId = newID()
	res, err := callDaemon(ctx, m.admin, func(e *endpoint) (*ckptdv1.PurgeJobResponse, error) { return e.retain.PurgeJob(ctx, req) })
	return res.GetChange(), err
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
		case silent && errors.Is(ce.cause, fs.ErrPermission):
			return nil, fmt.Errorf("%s does not let this user connect: the rights of the socket's file and of its folders decide (serve --socket-mode): %w", url, &answer{ce})
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
