package service

import (
	"context"
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
	"github.com/ckptd/ckptd/service/shell"
)

// retentionService implements RetentionService: people's calls that say which checkpoints a job keeps.
type retentionService struct{ s *Server }

var _ ckptdv1connect.RetentionServiceHandler = retentionService{}

// RemoveCheckpoints puts checkpoints into the trash, or drops them.
func (r retentionService) RemoveCheckpoints(ctx context.Context, req *ckptdv1.RemoveCheckpointsRequest) (*ckptdv1.RemoveCheckpointsResponse, error) {
	e := &owner.Edit{Kind: owner.EditRemove, IDs: req.GetCheckpointIds(), Now: req.GetNow(), Lent: req.GetEvenIfLent()}
	change, err := r.edit(ctx, req.GetJobId(), req.GetRequestId(), e, req.GetBy())
	if err != nil {
		return nil, err
	}
	return &ckptdv1.RemoveCheckpointsResponse{Change: change}, nil
}

// UndeleteCheckpoints brings checkpoints back from the trash.
func (r retentionService) UndeleteCheckpoints(ctx context.Context, req *ckptdv1.UndeleteCheckpointsRequest) (*ckptdv1.UndeleteCheckpointsResponse, error) {
	change, err := r.edit(ctx, req.GetJobId(), req.GetRequestId(), &owner.Edit{Kind: owner.EditUndelete, IDs: req.GetCheckpointIds()}, nil)
	if err != nil {
		return nil, err
	}
	return &ckptdv1.UndeleteCheckpointsResponse{Change: change}, nil
}

// TagCheckpoints changes the tags of checkpoints.
func (r retentionService) TagCheckpoints(ctx context.Context, req *ckptdv1.TagCheckpointsRequest) (*ckptdv1.TagCheckpointsResponse, error) {
	e := &owner.Edit{Kind: owner.EditTag, IDs: req.GetCheckpointIds(), Tags: req.GetTags()}
	if req.GetRemove() {
		e.Kind = owner.EditUntag
	}
	change, err := r.edit(ctx, req.GetJobId(), req.GetRequestId(), e, nil)
	if err != nil {
		return nil, err
	}
	return &ckptdv1.TagCheckpointsResponse{Change: change}, nil
}

// PurgeJob removes a job that has ended.
func (r retentionService) PurgeJob(ctx context.Context, req *ckptdv1.PurgeJobRequest) (*ckptdv1.PurgeJobResponse, error) {
	change, err := r.edit(ctx, req.GetJobId(), req.GetRequestId(), &owner.Edit{Kind: owner.EditPurge}, req.GetBy())
	if err != nil {
		return nil, err
	}
	return &ckptdv1.PurgeJobResponse{Change: change}, nil
}

// DropStalePins drops the pins on the job's checkpoints that nobody returns any more.
func (r retentionService) DropStalePins(ctx context.Context, req *ckptdv1.DropStalePinsRequest) (*ckptdv1.DropStalePinsResponse, error) {
	j, err := r.s.job(req.GetJobId())
	if err == nil {
		err = j.DropStalePins(ctx)
	}
	if api.IsNotAttached(err) || j == nil {
		err = jobService(r).elsewhere(ctx, req.GetJobId(), err)
	}
	if err != nil {
		return nil, err
	}
	return &ckptdv1.DropStalePinsResponse{}, nil
}

// edit lets the job's owner carry a command out, if that is this daemon.
func (r retentionService) edit(ctx context.Context, id, request string, e *owner.Edit, by *ckptdv1.PersonalCommand) (*ckptdv1.RetentionChange, error) {
	j, err := r.s.job(id)
	if err != nil {
		return nil, jobService(r).elsewhere(ctx, id, err)
	}
	var command *shell.Command
	if by != nil {
		command = &shell.Command{Who: by.GetWho(), Command: by.GetCommand()}
	}
	head, err := j.Edit(ctx, request, e, command)
	switch {
	case api.IsNotAttached(err):
		return nil, jobService(r).elsewhere(ctx, id, err)
	case err != nil:
		return nil, err
	}
	return api.Retention(head, func(c *journal.Checkpoint) bool { return slices.Contains(e.IDs, c.ID) }), nil
}
