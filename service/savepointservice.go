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

// TriggerSavepoint begins a savepoint at the job's owner. What a request id means stays known when the job has no owner any more.
func (p savepointService) TriggerSavepoint(ctx context.Context, req *ckptdv1.TriggerSavepointRequest) (*ckptdv1.TriggerSavepointResponse, error) {
	j, err := p.s.job(req.GetJobId())
	if err == nil {
		var res *ckptdv1.TriggerSavepointResponse
		if res, err = j.TriggerSavepoint(ctx, req); !api.IsNotAttached(err) {
			return res, err
		}
	}
	if head, how, rerr := p.s.readHead(ctx, req.GetJobId()); rerr == nil && how == journal.ReadDone {
		if saved, ok := head.Requested(req.GetRequestId()); ok {
			return &ckptdv1.TriggerSavepointResponse{Savepoint: catalog.Savepoint(&saved)}, nil
		}
	}
	return nil, jobService(p).elsewhere(ctx, req.GetJobId(), err)
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
