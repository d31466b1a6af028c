package service

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/api"
)

// savepointService implements SavepointService.
type savepointService struct{ s *Server }

var _ ckptdv1connect.SavepointServiceHandler = savepointService{}

// TriggerSavepoint begins a savepoint at the job's owner.
func (p savepointService) TriggerSavepoint(ctx context.Context, req *ckptdv1.TriggerSavepointRequest) (*ckptdv1.TriggerSavepointResponse, error) {
	j, err := p.s.job(req.GetJobId())
	if err != nil {
		return nil, jobService(p).elsewhere(ctx, req.GetJobId(), err)
	}
	res, err := j.TriggerSavepoint(ctx, req)
	if api.IsNotAttached(err) {
		return nil, jobService(p).elsewhere(ctx, j.ID(), err)
	}
	return res, err
}

// ListSavepoints lists a job's savepoints: with their progress if this daemon owns the job, else as the journal has them.
func (p savepointService) ListSavepoints(ctx context.Context, req *ckptdv1.ListSavepointsRequest) (*ckptdv1.ListSavepointsResponse, error) {
	if j, err := p.s.job(req.GetJobId()); err == nil {
		if res, err := j.Savepoints(ctx); err == nil {
			return res, nil
		}
	}
	head, how, err := p.s.readHead(ctx, req.GetJobId())
	switch {
	case err != nil:
		return nil, api.Error(err)
	case how != journal.ReadDone:
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no job %s", req.GetJobId()))
	}
	return catalog.Savepoints(head), nil
}
