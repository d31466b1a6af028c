package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/shell"
)

// jobService implements JobService: the calls that people and their tools make.
type jobService struct{ s *Server }

var _ ckptdv1connect.JobServiceHandler = jobService{}

// ListJobs lists the jobs under the root.
func (p jobService) ListJobs(ctx context.Context, _ *ckptdv1.ListJobsRequest) (*ckptdv1.ListJobsResponse, error) {
	res, err := catalog.New(p.s.stores.restore).Jobs(ctx)
	if err == nil && p.s.memory != nil {
		err = p.s.memory.listed(ctx, res)
	}
	return res, api.Error(err)
}

// ListCheckpoints lists a job's retained checkpoints.
func (p jobService) ListCheckpoints(ctx context.Context, req *ckptdv1.ListCheckpointsRequest) (*ckptdv1.ListCheckpointsResponse, error) {
	res, err := catalog.New(p.s.storeOf(req.GetJobId(), p.s.stores.restore)).Checkpoints(ctx, req.GetJobId())
	return res, api.Error(err)
}

// ShowCheckpoint describes one checkpoint.
func (p jobService) ShowCheckpoint(ctx context.Context, req *ckptdv1.ShowCheckpointRequest) (*ckptdv1.ShowCheckpointResponse, error) {
	res, err := catalog.New(p.s.storeOf(req.GetJobId(), p.s.stores.restore)).Show(ctx, req.GetJobId(), req.GetCheckpointId())
	return res, api.Error(err)
}

// GetStatus describes what the daemon and its jobs are doing, and what they wait for.
func (p jobService) GetStatus(ctx context.Context, req *ckptdv1.GetStatusRequest) (*ckptdv1.GetStatusResponse, error) {
	res := p.s.status()
	jobs := p.s.allJobs()
	if id := req.GetJobId(); id != "" {
		j, err := p.s.job(id)
		if err != nil {
			return nil, p.elsewhere(ctx, id, err)
		}
		jobs = []*shell.Job{j}
	}
	for _, j := range jobs {
		state, err := j.Status(ctx, req)
		switch {
		case err == nil:
			res.Jobs = append(res.Jobs, state)
		case req.GetJobId() != "":
			return nil, p.elsewhere(ctx, j.ID(), err) // the job was released meanwhile
		}
	}
	slices.SortFunc(res.Jobs, func(a, b *ckptdv1.JobState) int {
		return strings.Compare(a.GetSummary().GetJobId(), b.GetSummary().GetJobId())
	})
	return res, nil
}

// elsewhere returns the error for a call about a job that this daemon does not own. It names the job's owner, if the
// journal has one. err is the error so far.
func (p jobService) elsewhere(ctx context.Context, id string, err error) error {
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		return err
	}
	head, how, rerr := p.s.readHead(ctx, id)
	switch {
	case rerr != nil:
		return api.Error(rerr)
	case how == journal.ReadEmpty:
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no job %s", id))
	case how != journal.ReadDone:
		return connect.NewError(connect.CodeDataLoss, fmt.Errorf("the journal of job %s cannot be read: `ckptd journal show` says why", id))
	case head.Status.Terminal():
		return api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_JOB_TERMINAL, Status: catalog.Status(head.Status)},
			"job %s is %s%s; no daemon owns it", id, api.StatusWord(head.Status), api.EndedText(head.Ended))
	case head.Owner.IsZero():
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("job %s is %s; no daemon owns it", id, api.HeadWord(head)))
	}
	return api.NotOwner(id, head.URLs, head.Epoch)
}

// CancelJob cancels a job.
func (p jobService) CancelJob(ctx context.Context, req *ckptdv1.CancelJobRequest) (*ckptdv1.CancelJobResponse, error) {
	j, err := p.s.job(req.GetJobId())
	switch {
	case err != nil && connect.CodeOf(err) == connect.CodeFailedPrecondition:
		return p.cancelUnowned(ctx, req, p.elsewhere(ctx, req.GetJobId(), err))
	case err != nil:
		return nil, err
	}
	res, err := j.Cancel(ctx, req)
	if err != nil && api.IsNotAttached(err) { // the job is being attached, or was released meanwhile
		return p.cancelUnowned(ctx, req, p.elsewhere(ctx, j.ID(), err))
	}
	return res, err
}

// cancelUnowned cancels a job that this daemon does not own. It attaches the job first. A job that has ended stays as
// it is. why is the error if the journal cannot be read.
func (p jobService) cancelUnowned(ctx context.Context, req *ckptdv1.CancelJobRequest, why error) (*ckptdv1.CancelJobResponse, error) {
	head, how, err := p.s.readHead(ctx, req.GetJobId())
	if err != nil || how != journal.ReadDone {
		return nil, errors.Join(why, err)
	}
	if head.Status.Terminal() {
		return &ckptdv1.CancelJobResponse{Status: catalog.Status(head.Status), Retained: api.RetainedOut(head)}, nil
	}
	if _, err := engineService(p).AttachJob(ctx, &ckptdv1.AttachJobRequest{JobId: req.GetJobId(), RequestId: req.GetRequestId()}); err != nil {
		return nil, err
	}
	j, err := p.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return j.Cancel(ctx, req)
}

// SuspendJob ends the work of a job's workers and of its owner, but not the job.
func (p jobService) SuspendJob(ctx context.Context, req *ckptdv1.SuspendJobRequest) (*ckptdv1.SuspendJobResponse, error) {
	id := req.GetJobId()
	j, err := p.s.job(id)
	if err == nil {
		err = j.Suspend(ctx)
	}
	if err != nil && connect.CodeOf(err) != connect.CodeFailedPrecondition {
		return nil, err
	}
	head, how, readErr := p.s.readHead(ctx, id)
	if readErr != nil || how != journal.ReadDone || catalog.HeadStatus(head) != ckptdv1.JobStatus_JOB_STATUS_SUSPENDED {
		if err == nil {
			err = connect.NewError(connect.CodeAborted, fmt.Errorf("job %s was released, and is not suspended any more: somebody has started it again", id))
		}
		return nil, p.elsewhere(ctx, id, err)
	}
	res := &ckptdv1.SuspendJobResponse{Status: ckptdv1.JobStatus_JOB_STATUS_SUSPENDED}
	if c, ok := head.Checkpoint(head.Newest()); ok {
		res.Checkpoint = catalog.Checkpoint(id, &c)
	}
	return res, nil
}

// TriggerCheckpoint triggers a checkpoint and returns when it has completed.
func (p jobService) TriggerCheckpoint(ctx context.Context, req *ckptdv1.TriggerCheckpointRequest) (*ckptdv1.TriggerCheckpointResponse, error) {
	j, err := p.s.job(req.GetJobId())
	if err != nil {
		return nil, p.elsewhere(ctx, req.GetJobId(), err)
	}
	res, err := j.Trigger(ctx, req)
	if api.IsNotAttached(err) {
		// The job is being attached or released here, or somebody tried to attach it in vain. The journal names its
		// owner.
		return nil, p.elsewhere(ctx, j.ID(), err)
	}
	return res, err
}
